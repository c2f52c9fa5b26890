"""Our ports over TLS, through the servers that every role uses: who is let in, and what a new certificate changes."""

import shutil
import socket
import ssl
import threading
from functools import partial
from pathlib import Path

import pytest

from certificates import Authority, Certificate, authority, replace_pair
from eventually import eventually
from llmtrail.config import ClientAuth, ClientConfig, ConfigError, ServerConfig
from llmtrail.emit.endpoint import Endpoint
from llmtrail.local.tls import ServerTls, measure_tls, server_tls
from llmtrail.metrics import TLS_CERTIFICATE_EXPIRY, TLS_CERTIFICATE_REFUSED, Metrics
from tls_served import asked, get, serial, served, server_config, trusting


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return authority(tmp_path / "ca")


@pytest.fixture
def pair(ca: Authority) -> Certificate:
    return ca.issue("server")


def test_a_client_that_trusts_the_authority_is_answered_over_tls(ca: Authority, pair: Certificate) -> None:
    with served(ServerTls(server_config(pair))) as port:
        assert get(port, trusting(ca)) == "https"
        assert get(port, trusting(ca), "localhost") == "https"


def test_a_client_refuses_another_authority_another_name_and_an_ended_certificate(
    tmp_path: Path, ca: Authority, pair: Certificate
) -> None:
    ended = ca.issue("ended", days=-1)
    with served(ServerTls(server_config(pair))) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed|issuer"):
            get(port, trusting(authority(tmp_path / "other")))
        with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'llmtrail\.example\.com'"):
            get(port, trusting(ca), "llmtrail.example.com")
    with served(ServerTls(server_config(ended))) as port, pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        get(port, trusting(ca))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_a_downgrade_below_tls_1_2_is_refused(ca: Authority, pair: Certificate, version: ssl.TLSVersion) -> None:
    context = trusting(ca)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = context.maximum_version = version
    with served(ServerTls(server_config(pair))) as port, pytest.raises((ssl.SSLError, ConnectionError)):
        get(port, context)


def test_plain_http_to_a_tls_port_is_not_answered(pair: Certificate) -> None:
    with served(ServerTls(server_config(pair))) as port, socket.create_connection(("127.0.0.1", port), 10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\n\r\n")
        assert b"HTTP/1.1" not in plain.recv(1_000)


def test_a_client_certificate_of_our_authority_is_let_in_and_no_other(
    tmp_path: Path, ca: Authority, pair: Certificate
) -> None:
    known, stranger = ca.issue("known"), authority(tmp_path / "other").issue("known")
    with served(ServerTls(server_config(pair, ca.ca))) as port:
        assert get(port, trusting(ca, known)) == "https"
        for shown in (None, stranger):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                get(port, trusting(ca, shown))


def test_where_client_certificates_are_optional_a_bad_one_is_still_refused(
    tmp_path: Path, ca: Authority, pair: Certificate
) -> None:
    stranger = authority(tmp_path / "other").issue("known")
    config = server_config(pair, ca.ca, tls_client_auth=ClientAuth.OPTIONAL)
    with served(ServerTls(config)) as port:
        assert get(port, trusting(ca)) == get(port, trusting(ca, ca.issue("known"))) == "https"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(port, trusting(ca, stranger))


def test_new_connections_see_a_new_certificate_and_open_ones_go_on(ca: Authority, pair: Certificate) -> None:
    context = trusting(ca)
    with served(ServerTls(server_config(pair))) as port:
        before = serial(port, context)
        with socket.create_connection(("127.0.0.1", port), 10) as plain:  # noqa: SIM117
            with context.wrap_socket(plain, server_hostname="localhost") as kept:
                assert asked(kept) == "https"
                replace_pair(pair, ca.issue("renewed"))
                assert serial(port, context) != before
                assert asked(kept) == "https"


def test_a_pair_behind_a_symbolic_link_is_taken_up_when_the_link_moves(tmp_path: Path, ca: Authority) -> None:
    # As Kubernetes replaces a mounted secret: files link through `..data`, which is renamed over.
    for name in ("first", "second"):
        made, folder = ca.issue(name), tmp_path / "secret" / f"..{name}"
        folder.mkdir(parents=True)
        shutil.copy(made.certificate, folder / "tls.crt")
        shutil.copy(made.key, folder / "tls.key")
    data = tmp_path / "secret" / "..data"
    data.symlink_to("..first")
    mounted = Certificate(tmp_path / "secret" / "tls.crt", tmp_path / "secret" / "tls.key")
    mounted.certificate.symlink_to("..data/tls.crt")
    mounted.key.symlink_to("..data/tls.key")
    with served(ServerTls(server_config(mounted))) as port:
        before = serial(port, trusting(ca))
        (tmp_path / "secret" / "..new").symlink_to("..second")
        (tmp_path / "secret" / "..new").replace(data)
        assert serial(port, trusting(ca)) != before


@pytest.mark.parametrize("damage", ["other key", "half written", "empty", "gone", "readable by others"])
def test_a_bad_new_pair_keeps_the_former_and_says_so(
    ca: Authority, pair: Certificate, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    tls, metrics = ServerTls(server_config(pair)), Metrics()
    renewed = ca.issue("renewed")
    with served(tls) as port:
        before = serial(port, trusting(ca))
        _damage(pair, renewed, damage)
        assert serial(port, trusting(ca)) == before
        assert "the former certificate stays in use" in caplog.text
        measure_tls(tls, metrics)
        assert metrics.value(TLS_CERTIFICATE_REFUSED) == 1
        replace_pair(pair, renewed)
        assert serial(port, trusting(ca)) != before
        measure_tls(tls, metrics)
        assert metrics.value(TLS_CERTIFICATE_REFUSED) == 0
        assert metrics.value(TLS_CERTIFICATE_EXPIRY) == tls.pair.not_after_s


def _damage(pair: Certificate, renewed: Certificate, damage: str) -> None:
    match damage:
        case "other key":
            pair.key.write_bytes(renewed.key.read_bytes())
        case "half written":
            pair.certificate.write_bytes(renewed.certificate.read_bytes()[:200])
        case "empty":
            pair.key.write_bytes(b"")
        case "gone":
            pair.certificate.unlink()
        case "readable by others":
            pair.key.chmod(0o644)


def test_an_authority_of_clients_that_was_taken_out_lets_nobody_in_any_more(
    tmp_path: Path, ca: Authority, pair: Certificate
) -> None:
    former, present = authority(tmp_path / "former"), authority(tmp_path / "present")
    trusted = tmp_path / "clients.pem"
    trusted.write_bytes(former.ca.read_bytes())
    context = trusting(ca, former.issue("client"))
    with served(ServerTls(server_config(pair, trusted))) as port:
        assert get(port, context) == "https"
        trusted.write_bytes(present.ca.read_bytes())
        assert get(port, trusting(ca, present.issue("client"))) == "https"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(port, context)


def test_an_honest_sender_loses_nothing_while_the_certificate_is_replaced(ca: Authority, pair: Certificate) -> None:
    # Each reply closes nothing: one sender keeps its connection, the other opens one for each body.
    tls, stop = ServerTls(server_config(pair)), threading.Event()
    statuses: list[int] = []
    failures: list[str] = []
    with served(tls) as port:

        def send(keeps: bool) -> None:
            endpoint = Endpoint(f"https://localhost:{port}", "t", path="/", tls=ClientConfig(ca=ca.ca))
            while not stop.is_set():
                try:
                    statuses.append(endpoint.post([b"{}"]).status)
                except OSError as error:
                    failures.append(repr(error))
                if not keeps:
                    endpoint.close()
            endpoint.close()

        threads = [threading.Thread(target=send, args=(keeps,)) for keeps in (True, False)]
        for thread in threads:
            thread.start()
        serials = {serial(port, trusting(ca))}
        for number in range(5):
            seen = len(statuses)
            replace_pair(pair, ca.issue(f"renewed-{number}"))
            serials.add(serial(port, trusting(ca)))
            eventually(partial(_has_more, statuses, seen + 5))
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert set(statuses) == {200}
    assert len(serials) == 6


def _has_more(statuses: list[int], seen: int) -> bool:
    return len(statuses) > seen


def test_settings_that_name_half_of_what_tls_needs_are_refused(tmp_path: Path) -> None:
    for half in (ServerConfig(tls_key=tmp_path / "k"), ServerConfig(tls_client_ca=tmp_path / "c")):
        with pytest.raises(ConfigError, match=r"needs server\.tls_certificate"):
            server_tls(half)
