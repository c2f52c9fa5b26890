import json

from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrail.core.redact import ContentPolicy, redact_json
from llmtrail.core.redact_find import FINDER, PLAIN_FINDER, Finder
from llmtrail.core.redact_text import redact_text

# Every string is looked at, whatever it holds.
EVERYWHERE = Finder(lambda _: True)

_PIECES = st.sampled_from(
    [
        *(
            "bob@example.com",
            "sk-abcDEF1234567890abcdEFGH12",
            "AKIAIOSFODNN7EXAMPLE",
            "4111 1111 1111 1111",
            "378282246310005",
        ),
        *(
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "hf_abcdefghijklmnopqrstuvwxyz12345678",
            "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        ),
        *(
            "+44 20 7946 0123",
            "(415) 555-2671",
            "212-555-0123",
            "078-05-1120",
            "DE89 3704 0044 0532 0130 00",
            "GB29NWBK60161331926819",
        ),
        *(
            "Bearer abcdef1234567890",
            "BEARER ABC123456789012",
            "password=hunter22",
            "PASSWORD: x1y2z3",
            'Api-Key: "abcd"',
            "pwd=abcd1234",
        ),
        *(
            "https://u:p4ss@host/",
            "xoxb-123456789012-123456789012-abcdefABCDEF",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
            "access_token=abcd1",
        ),
        *(
            "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
            "AIzaSyA1234567890abcdefghijklmnopqrstuv",
            "SG.abcdefghijklmnop1.abcdefghijklmnop1",
        ),
        *(
            " ",
            "\n",
            '"',
            "\\",
            "/",
            ".",
            ",",
            ":",
            "=",
            "(",
            ")",
            "x",
            "7",
            "é",
            "中",
            "\ud800",
            "@",
            "-",
            "_",
            "\t",
            "\u2028",
            "PassWord",
            "toKEN:",
        ),
    ]
)
_TEXTS = st.one_of(st.lists(_PIECES, max_size=6).map("".join), st.text(max_size=40))
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_TEXTS, inner, max_size=4)),
    max_leaves=8,
)


def _same_shape(before: object, after: object) -> bool:
    if isinstance(before, dict):
        return (
            isinstance(after, dict)
            and before.keys() == after.keys()
            and all(map(_same_shape, before.values(), after.values()))
        )
    if isinstance(before, list):
        return isinstance(after, list) and len(before) == len(after) and all(map(_same_shape, before, after))
    if isinstance(before, int) and not isinstance(before, bool):
        return after in {before, "[redacted:card]"}
    return type(before) is type(after) and (isinstance(before, str) or before == after)


@settings(max_examples=300, deadline=None)
@given(_VALUES, st.booleans())
def test_the_result_is_json_of_the_same_structure_and_stays_as_it_is(value: object, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    once = redact_json(raw, ContentPolicy.REDACTED)
    assert _same_shape(json.loads(raw), json.loads(once))
    assert redact_json(once, ContentPolicy.REDACTED, EVERYWHERE) == once


@settings(max_examples=600, deadline=None)
@given(_VALUES, st.booleans())
def test_both_probes_are_true_wherever_something_would_be_redacted(value: object, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    redacted = redact_json(raw, ContentPolicy.REDACTED, EVERYWHERE)
    assert redact_json(raw, ContentPolicy.REDACTED) == redacted
    assert redact_json(raw, ContentPolicy.REDACTED, PLAIN_FINDER) == redacted
    if redacted != raw:
        assert PLAIN_FINDER.suspicious(raw)
        assert FINDER.suspicious(raw)
        assert FINDER.suspicious(b'{"call_id":"01a1fc84-a139-7381-93d3-87080759d023","output":' + raw + b"}\n")


@given(_TEXTS)
def test_redacting_twice_is_redacting_once(text: str) -> None:
    assert redact_text(redact_text(text)) == redact_text(text)
