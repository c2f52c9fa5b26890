"""The simulator as a server: reads requests, takes its time, answers or misbehaves. Knows no provider's format."""

import asyncio
import json
import socket
import threading
from collections import Counter, deque
from dataclasses import dataclass
from hashlib import blake2b
from types import TracebackType
from typing import Any, Self

from llmtrail.clock import Clock, SystemClock
from llmtrail.testing.provider.answers import Answer, Question, answer, cacheable
from llmtrail.testing.provider.dialects import Dialect, dialect_of, error_body
from llmtrail.testing.provider.dice import Dice
from llmtrail.testing.provider.faults import (
    RETRY_HEADER,
    SCRIPT_HEADER,
    FaultMix,
    Step,
    StepKind,
    scripted_step,
)
from llmtrail.testing.provider.wire import Reply, Silence, Stream, with_fault

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.routing import Route
except ImportError as error:
    raise ImportError('llmtrail.testing.provider needs: pip install "llmtrail[embedded]"') from error

# How long an answer should be, in tokens, asked by whoever replays a recorded workload.
OUTPUT_TOKENS_HEADER = "x-simulate-output-tokens"
# What hosted models usually do; `speed` divides both.
FIRST_TOKEN_S = 0.25
PER_INPUT_TOKEN_S = 0.00004
PER_OUTPUT_TOKEN_S = 0.012
# A slow start without a value of its own.
SLOW_START_S = 5.0
# Requests kept for assertions, and prompts remembered: the demo runs for hours.
SEEN_MAX = 100_000
PROMPTS_MAX = 100_000
_START_S_MAX = 20.0
_STOP_S_MAX = 10.0


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One HTTP request as it arrived, and what it was given."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    step: Step
    request_id: str
    at_ns: int

    @property
    def attempt(self) -> int:
        """Return the client's own count of retries before this request (0 for the first)."""
        return int(self.headers.get(RETRY_HEADER, "0"))


class ProviderSimulator:
    """Providers on a free loopback port, in a thread of their own; a context manager.

    `speed` divides every latency (1 is realistic, 1000 suits tests). `faults` may be set at any time.
    Models named `flaky-500-500-200`, `cut-stream`, `timeout`, `slow-start`, `content-filter`, `length`, `refusal`,
    `malformed-json` or `broken-json` follow their name; so does any request with the header `x-simulate: 429:0.2,200`.
    """

    def __init__(
        self, seed: int = 0, *, speed: float = 1.0, faults: FaultMix | None = None, clock: Clock | None = None
    ) -> None:
        self.seed = seed
        self.speed = speed
        self.faults = faults or FaultMix()
        self.requests: deque[SeenRequest] = deque(maxlen=SEEN_MAX)
        self._clock = clock or SystemClock()
        self._asked: Counter[bytes] = Counter()
        self._prefixes: set[bytes] = set()
        self._count = 0
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def root_url(self) -> str:
        """Return the address without a path: what Anthropic's client wants."""
        if self._socket is None:
            raise RuntimeError("start the simulator first: with ProviderSimulator() as provider")
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def base_url(self) -> str:
        """Return the address with `/v1`: what OpenAI's client wants."""
        return f"{self.root_url}/v1"

    def seen(self, model: str | None = None) -> list[SeenRequest]:
        """Return the requests that arrived, oldest first; of one model where it is given."""
        return [request for request in list(self.requests) if model in (None, request.body.get("model"))]

    def start(self) -> Self:
        """Start to listen; return when requests are answered. Raises RuntimeError where that takes too long."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))
        routes = [
            Route("/v1/models", self._models),
            Route("/{path:path}", self._handle, methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes),
            lifespan="off",
            ws="none",
            log_config=None,
            # A cut stream is an error to uvicorn, and here on purpose.
            log_level="critical",
            timeout_graceful_shutdown=1,
        )
        ready = threading.Event()
        self._server = _Announcing(config, ready)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="provider-simulator", daemon=True
        )
        self._thread.start()
        if not ready.wait(_START_S_MAX):
            raise RuntimeError(f"the provider simulator did not start in {_START_S_MAX:.0f} s")
        return self

    def stop(self) -> None:
        """Stop; requests in flight are cut off."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            self._thread.join(_STOP_S_MAX)
        if self._socket is not None:
            self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _models(self, _request: Request) -> Reply:
        return Reply(b'{"object": "list", "data": []}', {})

    async def _handle(self, request: Request) -> Reply | Stream | Silence:
        raw = await request.body()
        dialect = dialect_of(request.url.path)
        try:
            body = json.loads(raw)
            model = str(body["model"])
        except (ValueError, TypeError, KeyError):
            return self._error(dialect, Step(StepKind.STATUS, 400), "req_bad", "the body is not a request")
        if dialect is None:
            return self._error(dialect, Step(StepKind.STATUS, 404), "req_bad", f"no such path: {request.url.path}")
        dice, first_dice = self._dice(raw, request)
        request_id = f"req_{dice.hex(32)}"
        try:
            step = self._step(model, request, dice)
        except ValueError as error:
            return self._error(dialect, Step(StepKind.STATUS, 400), request_id, str(error))
        self._note(request, body, step, request_id)
        match step.kind:
            case StepKind.STATUS:
                return self._error(dialect, step, request_id, f"simulated error {step.status}")
            case StepKind.TIMEOUT:
                return Silence()
            case _:
                return await self._answer(dialect, request, body, (step, first_dice, request_id))

    def _dice(self, raw: bytes, request: Request) -> tuple[Dice, Dice]:
        """Return chance for this attempt, and chance for the answer, which a retry does not change."""
        digest = blake2b(raw, digest_size=8).digest()
        if len(self._asked) >= PROMPTS_MAX:
            self._asked.clear()
        self._asked[digest] += 1
        retry = request.headers.get(RETRY_HEADER, "0")
        nth = str(self._asked[digest])
        return Dice(self.seed, digest.hex(), nth, retry), Dice(self.seed, digest.hex(), nth, "answer")

    def _step(self, model: str, request: Request, dice: Dice) -> Step:
        attempt = int(request.headers.get(RETRY_HEADER, "0"))
        scripted = scripted_step(model, request.headers.get(SCRIPT_HEADER), attempt)
        return scripted if scripted is not None else self.faults.roll(model, dice)

    def _note(self, request: Request, body: dict[str, Any], step: Step, request_id: str) -> None:
        self._count += 1
        headers = {name.lower(): value for name, value in request.headers.items()}
        now_ns = self._clock.now_ns()
        self.requests.append(SeenRequest(self._count, request.url.path, headers, body, step, request_id, now_ns))

    def _error(self, dialect: Dialect | None, step: Step, request_id: str, message: str) -> Reply:
        headers = {"x-request-id": request_id, "request-id": request_id}
        if step.value is not None:
            headers |= {"retry-after": f"{step.value:g}"}
        body = error_body(dialect, step.status, message, request_id)
        return Reply(json.dumps(body).encode(), headers, step.status)

    async def _answer(
        self, dialect: Dialect, request: Request, body: dict[str, Any], decided: tuple[Step, Dice, str]
    ) -> Reply | Stream:
        step, dice, request_id = decided
        wanted = request.headers.get(OUTPUT_TOKENS_HEADER)
        question = dialect.question(body, int(wanted) if wanted else None)
        said = answer(question, step, dice, self._cached(question))
        first_s, rest_s = self._pace(said, step, dice)
        answer_id = dialect.id_prefix + dice.hex(29)
        created = self._clock.now_ns() // 1_000_000_000
        headers = {"x-request-id": request_id, "request-id": request_id, "openai-version": "2020-10-01"}
        if dialect.streams and body.get("stream"):
            frames = with_fault(dialect.frames(said, body, answer_id, created), step)
            return Stream(frames, headers, first_s, rest_s)
        payload = json.dumps(dialect.body(said, body, answer_id, created)).encode()
        await asyncio.sleep(first_s + rest_s)
        cut = step.kind is StepKind.CUT
        if step.kind is StepKind.MALFORMED or cut:
            payload = payload[: len(payload) // 2]
        return Reply(payload, headers, 200, cut=cut)

    def _cached(self, question: Question) -> bool:
        if not cacheable(question.text):
            return False
        prefix = blake2b(question.text[:4096].encode(), digest_size=8).digest()
        if prefix in self._prefixes:
            return True
        if len(self._prefixes) >= PROMPTS_MAX:
            self._prefixes.clear()
        self._prefixes.add(prefix)
        return False

    def _pace(self, said: Answer, step: Step, dice: Dice) -> tuple[float, float]:
        """Return seconds until the first token and from there to the last."""
        # Most answers are near the usual pace, one in ten is much slower, as hosted models are.
        luck = 0.7 + 0.6 * dice.unit() + (2.0 * dice.unit() if dice.unit() < 0.1 else 0.0)
        late = (step.value if step.value is not None else SLOW_START_S) if step.kind is StepKind.SLOW else 0.0
        # Thinking happens before the first word.
        before = FIRST_TOKEN_S + PER_INPUT_TOKEN_S * said.input_tokens + PER_OUTPUT_TOKEN_S * said.reasoning_tokens
        after = PER_OUTPUT_TOKEN_S * (said.output_tokens - said.reasoning_tokens)
        # A script's own seconds are exact: only the usual pace is scaled.
        return luck * before / self.speed + late, luck * after / self.speed


class _Announcing(uvicorn.Server):
    """A server that says when it listens; uvicorn has no hook for that."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()
