"""A page comes whole, or the reason why not, within the deadline and the size."""

import time

import pytest

import hostile_server as server
from llmtrail_gpu.fetch import FetchError, Request, check_url, fetch

# Long beside what loopback needs, short beside what a dripping server would take.
DEADLINE_S = 0.5
PATIENCE_S = 10.0


def test_a_page_comes_whole() -> None:
    with server.serving(server.whole) as url:
        fetched = fetch(Request(url, PATIENCE_S))
    assert (fetched.page, fetched.error) == (server.LINE, "")


def test_a_page_that_ends_early_is_told_as_cut() -> None:
    with server.serving(server.half) as url:
        fetched = fetch(Request(url, PATIENCE_S))
    assert fetched.page.startswith(server.LINE)
    assert fetched.error.startswith("cut after")


def test_an_endless_page_ends_at_the_size() -> None:
    with server.serving(server.endless) as url:
        fetched = fetch(Request(url, PATIENCE_S, bytes_max=1_000_000))
    assert len(fetched.page) == 1_000_001
    assert fetched.error == "over 1000000 bytes"


@pytest.mark.parametrize("answer", [server.drip_head, server.silent, server.drip_body])
def test_a_slow_answer_ends_at_the_deadline(answer: server.Answer) -> None:
    with server.serving(answer) as url:
        began_s = time.monotonic()
        try:
            told = fetch(Request(url, DEADLINE_S)).error
        except FetchError as error:
            told = str(error)
        assert time.monotonic() - began_s < PATIENCE_S
    assert "0.5 s" in told or told.startswith("cut after")


@pytest.mark.parametrize(("answer", "told"), [(server.redirect, "HTTP 302"), (server.no_http, "what?")])
def test_an_answer_that_is_no_page_is_told(answer: server.Answer, told: str) -> None:
    with server.serving(answer) as url, pytest.raises(FetchError, match=told.replace("?", r"\?")):
        fetch(Request(url, PATIENCE_S))


def test_a_port_that_nobody_listens_on_is_told() -> None:
    with server.serving(server.whole) as url:
        pass
    with pytest.raises(FetchError, match="refused"):
        fetch(Request(url, PATIENCE_S))


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("127.0.0.1:9400", "http://127.0.0.1:9400/metrics"),
        ("http://node:9400/", "http://node:9400/metrics"),
        ("https://node/m?x=1", "https://node/m?x=1"),
    ],
)
def test_an_address_gets_the_usual_path(given: str, url: str) -> None:
    assert check_url(given) == url


@pytest.mark.parametrize(
    "given", ["", "ftp://x", "http://", "http://x:99999", "http://x:a", "http://a b/", "file:///etc"]
)
def test_what_is_no_address_is_told_with_one_that_is(given: str) -> None:
    with pytest.raises(ValueError, match=r"write for example http://127\.0\.0\.1:9400/metrics"):
        check_url(given)
