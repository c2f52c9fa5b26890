"""Names of contents are the same in every process and version: they stand in the store."""

import msgspec

from llmtrail.core.call import Call
from llmtrail_ingest.writer.hashes import bodies_key, content_hash, prompt_fingerprint


def call(messages: bytes = b"", prompt: bytes = b"", output: bytes = b"") -> Call:
    return Call(started_at=1, messages=msgspec.Raw(messages), prompt=msgspec.Raw(prompt), output=msgspec.Raw(output))


def test_the_hash_tells_events_apart_and_is_the_same_in_every_process() -> None:
    assert content_hash(b"{}") == 0x1349CDE127705C16
    assert content_hash(b"{}") != content_hash(b"{ }")


def test_bodies_of_one_log_key_stand_together() -> None:
    assert bodies_key(b"trace") == bodies_key(b"trace") != bodies_key(b"other")


def test_equal_prompts_have_equal_fingerprints_and_no_prompt_has_none() -> None:
    asked = call(messages=b'[{"role":"user","content":"q"}]')
    assert prompt_fingerprint(asked) == prompt_fingerprint(call(prompt=b'[{"role":"user","content":"q"}]'))
    assert prompt_fingerprint(asked) != prompt_fingerprint(call(messages=b"[]"))
    assert prompt_fingerprint(call(output=b'"a"')) is None
