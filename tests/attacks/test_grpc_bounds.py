"""On the gRPC port one sender cannot hold the others up, and nothing is read before its sender is known."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from eventually import eventually
from llmtrail.core.access.authenticate import AccessReason, AccessRefusal
from llmtrail.core.access.grant import Grant, TokenScope
from llmtrail.core.outcome import Refusal
from llmtrail.core.redact import ContentPolicy
from llmtrail.log.port import Append
from llmtrail_ingest.otlp.encoding import RECORDS_MAX
from llmtrail_ingest.otlp.grpc_server import AT_WORK_MAX, GrpcDoor, GrpcServer, client_of_peer
from otlp_recordings import recorded

SPANS = next(request.body for request in recorded("genai-chat") if request.path == "/v1/traces")
PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass
class Door:
    """Lets `good` and `evil` in; what evil sends stays at work until it is let go."""

    let_go: threading.Event = field(default_factory=threading.Event)
    turned_away: list[tuple[str, Refusal]] = field(default_factory=list)
    at_work: int = 0
    kept: int = 0

    def authorize(self, headers: Sequence[str], _peer: str) -> Grant | AccessRefusal:
        name = headers[0] if headers else ""
        if name not in {"good", "evil"}:
            return AccessRefusal(AccessReason.UNKNOWN)
        return Grant(name, name, frozenset({TokenScope.INGEST}))

    def append(self, appends: Sequence[Append]) -> None:
        if appends and appends[0].headers["tenant"] == "evil":
            self.at_work += 1
            self.let_go.wait(20)
        self.kept += 1


class Still:
    """A clock on which nothing that was used fades."""

    def now_ns(self) -> int:
        return 1

    def monotonic_ns(self) -> int:
        return 1


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def address(door: Door) -> Iterator[str]:
    parts = GrpcDoor(
        authorize=door.authorize,
        append=door.append,
        count=lambda _: None,
        policy=ContentPolicy.FULL,
        turned_away=lambda sender, refusal: door.turned_away.append((sender, refusal)),
        clock=Still(),
    )
    server = GrpcServer(parts, "127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{server.port}"
    door.let_go.set()
    server.stop(0)


def export(address: str, sender: str, body: bytes, **metadata: str) -> bytes:
    # Else all channels of a process share one connection.
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PATH)
        return call(body, timeout=15, metadata=(("authorization", sender), *metadata.items()))


@pytest.mark.attack("H2", "one token's calls take every thread of the gRPC port")
def test_a_sender_whose_calls_are_all_at_work_is_told_when_to_come_back_and_another_is_served(
    door: Door, address: str
) -> None:
    body = SPANS
    with ThreadPoolExecutor(AT_WORK_MAX) as evil:
        for _ in range(AT_WORK_MAX // 2):
            evil.submit(export, address, "evil", body)
        eventually(lambda: door.at_work == AT_WORK_MAX // 2)
        with pytest.raises(grpc.RpcError) as refused:
            export(address, "evil", body)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        metadata: Any = refused.value.trailing_metadata()
        details = dict(metadata)["grpc-status-details-bin"]
        # A google.rpc.Status whose detail is a RetryInfo of one second.
        assert b"type.googleapis.com/google.rpc.RetryInfo" in details
        assert details.endswith(b"\x0a\x02\x08\x01")
        export(address, "good", body)
        assert door.turned_away == [("evil", Refusal.SHARE)]
        door.let_go.set()
    export(address, "evil", body)


@pytest.mark.attack("H7", "one token's messages take the processor from others")
def test_a_sender_that_used_more_than_its_share_of_the_processor_is_told_to_come_back(door: Door, address: str) -> None:
    door.let_go.set()
    costly = SPANS * 400
    export(address, "good", SPANS)

    def insist() -> None:
        for _ in range(200):
            export(address, "evil", costly)

    with pytest.raises(grpc.RpcError) as refused:
        insist()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert door.turned_away == [("evil", Refusal.SHARE)]
    export(address, "good", SPANS)


@pytest.mark.attack("H7", "four million spans of two bytes each")
def test_a_message_of_more_records_than_one_may_hold_is_refused_unread(address: str) -> None:
    spans = b"\x12\x00" * (RECORDS_MAX + 1_000_000)
    scope = b"\x12" + _length(len(spans)) + spans
    with pytest.raises(grpc.RpcError) as refused:
        export(address, "good", b"\x0a" + _length(len(scope)) + scope)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert str(RECORDS_MAX) in (refused.value.details() or "")


@pytest.mark.attack("H5", "what is no message, metadata and messages without end, without a token")
def test_strangers_learn_that_they_are_strangers_whatever_they_send(address: str, door: Door) -> None:
    for body in (b"", b"\xff" * 1_000, SPANS):
        with pytest.raises(grpc.RpcError) as refused:
            export(address, "nobody", body)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.RpcError) as refused:
        export(address, "nobody", b"", x="a" * 100_000)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.RpcError) as refused:
        export(address, "nobody", bytes(17 * 1024 * 1024))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert door.kept == 0


@pytest.mark.attack("H5", "bytes that are no message")
def test_a_message_that_is_none_is_refused_as_over_http(address: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        export(address, "good", b"\xff" * 100)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.attack("H2", "many addresses of one host's IPv6 network")
@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:127.0.0.1:52114", "127.0.0.1"),
        ("ipv6:%5B::1%5D:52114", "::/64"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:443", "2001:db8:1:2::/64"),
        ("ipv6:[::ffff:10.0.0.7]:443", "10.0.0.7"),
        ("unix:/run/x", ""),
    ],
)
def test_a_peers_address_is_read_from_its_name(peer: str, client: str) -> None:
    assert client_of_peer(peer) == client


def _length(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
