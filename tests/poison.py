"""Records that no role can read: what was found on Kafka, in advisories and in parsers' test suites.

Where from: JSON nested deep and names of headers are of our own review. Of others are the byte order marks, lone
surrogates, numbers and bare words of JSONTestSuite (Seriot, "Parsing JSON is a minefield", n_ and i_ cases), frames of
Confluent's registry, Avro and zstd files, tombstones, and numbers past Python's 4,300 digits (CVE-2020-10735).
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Poison:
    """One record that is none of its topic's; headers may have names that are no text."""

    name: str
    value: bytes | None
    key: bytes = b"poison"
    headers: tuple[tuple[bytes, bytes | None], ...] = ()


DEPTH = 50_000
DIGITS = b"9" * 4_301
# Over what a dead letter keeps whole, under what a record holds.
LARGE_BYTES = 6_300_000
BAD_NAMES = (b"\xff", b"trash\xc3\x28", b"\xed\xa0\x80", b"tenant\x00\xfe", b"\xc0\x80", b"")
BAD_KEYS = (
    b"\xff\xfe",
    b"",
    b"\x00" * 64,
    b"k" * 70_000,
    b"9" * 5_000 + b"/1m/60",
    b"00/1m/" + b"9" * 5_000,
    b"-1/1m/60",
    "٣/1m/60".encode(),
    b"00/month@../../etc/passwd/0",
    b"00/month@" + b"Z" * 5_000 + b"/0",
    b"[" * DEPTH,
    b'[0,"n","t",10,' + DIGITS + b"]",
    b'["\\ud800","x"]',
    b"group/" + b"9" * 5_000,
)

_VALUES: dict[str, bytes | None] = {
    "tombstone": None,
    "empty": b"",
    "blank": b" \n\t",
    "nul": b"\x00",
    "not_utf8": b'{"a":"\xff\xfe"}',
    "truncated_utf8": b'{"a":"\xe2\x82',
    "overlong_utf8": b'{"a":"\xc0\xaf"}',
    "surrogate_bytes": b'{"a":"\xed\xa0\x80"}',
    "lone_surrogate": b'{"a":"\\ud800"}',
    "byte_order_mark": b"\xef\xbb\xbf{}",
    "utf16": '{"a":1}'.encode("utf-16"),
    "utf32": '{"a":1}'.encode("utf-32"),
    "deep_objects": b'{"a":' * DEPTH,
    "deep_arrays": b"[" * DEPTH,
    "deep_closed": b"[" * DEPTH + b"]" * DEPTH,
    "deep_inside": b'{"slots":' + b"[" * DEPTH + b"]" * DEPTH + b"}",
    "huge_int": DIGITS,
    "huge_int_inside": b'{"v":' + DIGITS + b"}",
    "huge_exponent": b'{"v":1e999999}',
    "int_beyond_64": b'{"v":18446744073709551616}',
    "nan": b'{"v":NaN}',
    "infinity": b"[-Infinity]",
    "number": b"-0",
    "text": b'"text"',
    "null": b"null",
    "true": b"true",
    "array": b"[]",
    "arrays": b"[[[[]]],1,{}]",
    "object": b"{}",
    "same_name_twice": b'{"a":1,"a":{"a":[]}}',
    "truncated": b'{"shard":1,"watermark_s":5,"slots":{"1',
    "trailing": b"{}{}",
    "trailing_comma": b'{"a":1,}',
    "comment": b"/* no JSON */{}",
    "single_quotes": b"{'a':1}",
    "html": b"<!doctype html><title>502 Bad Gateway</title>",
    "confluent_frame": b"\x00\x00\x00\x00\x2a\x02\x04ab",
    "avro": b"Obj\x01\x04\x14avro.codec\x08null",
    "protobuf": b"\x0a\x06spans.\x12\x02\x08\x01",
    "gzip": gzip.compress(b"{}", mtime=0),
    "zstd_magic": b"\x28\xb5\x2f\xfd\x00\x58\x00",
    "all_bytes": bytes(range(256)) * 8,
    "million_names": b"{" + b",".join(b'"%d":0' % number for number in range(100_000)) + b"}",
    "half_a_mebibyte": b'{"a":"' + b"x" * 524_288,
}
# Of the right names and wrong types: each topic's own, and each other's.
_WRONG: tuple[object, ...] = (
    {"shard": 1, "watermark_s": 2**32},
    {"shard": -1, "watermark_s": 5, "slots": {"5": {"x": {"calls": 1}}}},
    {"shard": 1, "watermark_s": 5, "source": {"topic_id": 1}},
    {"shard": 1, "watermark_s": 5, "v": 99},
    {"shard": 1, "watermark_s": 5, "source": None, "slots": {"5": {"no scope": {"calls": 1}}}},
    {"tier": "1m", "start_s": 60, "end_s": 120, "through_s": 60, "cells": {"no scope": {"calls": 1}}},
    {"tier": "century", "start_s": 60, "end_s": 120, "through_s": 60},
    {"tier": "1m", "start_s": -1, "end_s": 10**30, "through_s": 10**30, "cells": {"[]": {}}},
    {"at_ns": [], "arrived_ns": 10**30},
    {"at_ns": [10**30], "arrived_ns": -1, "devices": {"[": {}}},
    {"sampled_at_ns": -1, "host": "", "gpus": [{"xid": 10**30}]},
    {"rule": "r", "scope": "no scope", "state": "hard", "spent": 1, "limit": 1, "unit": "nanousd", "period": "day"},
    {"rule": "r", "scope": '["","user"]', "state": "later", "spent": 10**40, "limit": -1, "unit": "", "period": ""},
    {"zones": ["No/Where"], "feature_users": [1]},
    {"zones": "UTC", "feature_users": {}},
    {"zones": ["../../etc/passwd"], "feature_users": []},
    {"reason": "r", "detail": "d", "source": "s", "value_base64": "%%%"},
    {"reason": "r", "detail": "d", "source": "s", "value_base64": "", "origin": {"partition": 2**64}},
    {"started_at": "yesterday", "request_model": ["gpt"], "usage": 5},
    {"name": 5, "trace_id": [], "span_id": {}, "start_ns": "x"},
)


def _all() -> Iterator[Poison]:
    for name, value in _VALUES.items():
        yield Poison(name, value)
    for number, told in enumerate(_WRONG):
        yield Poison(f"wrong_{number}", json.dumps(told).encode())
    for number, key in enumerate(BAD_KEYS):
        yield Poison(f"key_{number}", b"{}", key)
        yield Poison(f"key_{number}_tombstone", None, key)
    for number, bad in enumerate(BAD_NAMES):
        yield Poison(f"header_{number}", b"\xff", headers=((b"source", b"kafka"), (bad, b"\xff")))
    yield Poison("header_no_value", b"\xff", headers=((b"tenant", None),))
    yield Poison("headers_many", b"\xff", headers=tuple((b"h%d" % number, b"x") for number in range(500)))


POISONS = tuple(_all())
LARGE = (
    Poison("large_no_json", b"x" * LARGE_BYTES),
    Poison("large_text", b'{"a":"' + b"x" * LARGE_BYTES + b'"}'),
    Poison("large_blank", b"\n" * LARGE_BYTES),
    Poison("large_arrays", b"[],".join([b"["] + [b""] * (LARGE_BYTES // 4)) + b"]"),
)
