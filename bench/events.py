"""Make native events of given texts, 900 bytes larger than these, whose ids and times are set at their sending."""

import json
import os
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass

from texts import Conversation

from llmtrail.core.ids import uuid7

_ID = "00000000-0000-7000-8000-000000000000"
_REQUEST = "r-000000000000000000"
_TRACE = "0123456789abcdef0123456789abcdef"
_TIME = 1_111_111_111_111_111_111
MODELS = ["gpt-4o-mini", "gpt-4o", "gpt-4.1", "claude-sonnet-4-5", "gpt-5-mini"]


def event(text: Conversation, rng: random.Random) -> dict[str, object]:
    """Return one event of this text."""
    model = rng.choice(MODELS)
    return {
        "call_id": _ID,
        "started_at": _TIME,
        "request_id": _REQUEST,
        "trace_id": _TRACE,
        "user_id": f"u-{rng.randint(1, 5_000)}",
        "feature": f"feature-{rng.randint(1, 20)}",
        "service": "bench",
        "environment": "production",
        "operation": "chat",
        "provider": "anthropic" if model.startswith("claude") else "openai",
        "request_model": model,
        "response_model": model,
        "stream": False,
        "parameters": {"temperature": 0.2, "max_tokens": 512},
        "messages": text.messages,
        "output": text.output,
        "versions": {"prompt": "v12", "prompt_name": "answer", "release": "2026.11.1"},
        "usage": {
            "input_tokens": rng.randint(200, 900),
            "output_tokens": rng.randint(50, 400),
            "cache_read_tokens": 128,
        },
        "latency_ms": round(rng.lognormvariate(6.5, 0.6), 1),
        "attempts": [{"number": 1, "latency_ms": 812.5, "http_status": 200, "outcome": "ok"}],
        "retry_count": 0,
        "status": "ok",
        "finish_reasons": ["stop"],
    }


@dataclass(frozen=True, slots=True)
class Template:
    """A batch of events as pieces of NDJSON, with holes for id, time, request id and trace id."""

    pieces: list[tuple[bytes, bytes, bytes, bytes, bytes]]

    def body(self, first_number: int) -> tuple[bytes, list[str]]:
        """Return a body with fresh ids and now's time, and its request ids."""
        now_ns = time.time_ns()
        random_bytes = os.urandom(26 * len(self.pieces))
        stamp = str(now_ns).encode()
        out: list[bytes] = []
        requests: list[str] = []
        for index, (before, middle, after, trace, end) in enumerate(self.pieces):
            request = f"r-{first_number + index:018d}"
            requests.append(request)
            fresh = random_bytes[26 * index : 26 * index + 26]
            call_id = uuid7(now_ns, fresh[16:])
            out += [before, call_id.encode(), middle, stamp, after, request.encode(), trace]
            out += [fresh[:16].hex().encode(), end]
        return b"".join(out), requests


def template(texts: Iterable[Conversation], rng: random.Random) -> Template:
    """Return a template of an event for each text."""
    pieces = []
    for text in texts:
        # As clients send it: UTF-8, not escaped.
        raw = json.dumps(event(text, rng), separators=(",", ":"), ensure_ascii=False).encode()
        before, _, rest = raw.partition(_ID.encode())
        middle, _, rest = rest.partition(str(_TIME).encode())
        after, _, rest = rest.partition(_REQUEST.encode())
        trace, _, end = rest.partition(_TRACE.encode())
        pieces.append((before, middle, after, trace, end + b"\n"))
    return Template(pieces)
