"""Names of contents are the same in every process and version: they stand in the store."""

import msgspec

from llmtrail.core.call import Call
from llmtrail.core.redact import ContentPolicy
from llmtrail_ingest.gateway.admit import Door, admit
from llmtrail_ingest.writer.hashes import bodies_key, content_hash, prompt_fingerprint


def call(messages: bytes = b"", prompt: bytes = b"", output: bytes = b"") -> Call:
    return Call(started_at=1, messages=msgspec.Raw(messages), prompt=msgspec.Raw(prompt), output=msgspec.Raw(output))


def test_the_hash_tells_events_apart_and_is_the_same_in_every_process() -> None:
    assert content_hash(b"{}") == 0x1349CDE127705C16
    assert content_hash(b"{}") != content_hash(b"{ }")


def test_bodies_of_one_request_stand_together() -> None:
    assert bodies_key("trace") == bodies_key("trace") != bodies_key("other")


def test_equal_prompts_have_equal_fingerprints_and_no_prompt_has_none() -> None:
    asked = call(messages=b'[{"role":"user","content":"q"}]')
    assert prompt_fingerprint(asked) == prompt_fingerprint(call(prompt=b'[{"role":"user","content":"q"}]'))
    assert prompt_fingerprint(asked) != prompt_fingerprint(call(messages=b"[]"))
    assert prompt_fingerprint(call(output=b'"a"')) is None


def test_every_event_of_a_call_has_one_key_however_its_id_is_written() -> None:
    call_id = "01a1ee56-5e00-7000-8000-0000000000ab"
    written = (call_id, call_id.upper(), call_id.replace("-", ""))
    events = [
        b'{"started_at":1700000000000000000,"request_model":"m","call_id":"%b"%b}' % pair
        for pair in zip(
            (one.encode() for one in written),
            (b',"trace_id":"t","request_id":"r"', b',"revision":1', b',"revision":2,"request_id":"r"'),
            strict=True,
        )
    ]
    door = Door(lambda: call_id, lambda value, key: (value, key))
    admission = admit(b"\n".join(events), ContentPolicy.FULL, door)
    assert admission.keys == [call_id.encode()] * 3
