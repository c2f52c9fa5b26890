"""Fuzzing within a budget of time: inputs grow from real ones, and a failure says how to repeat it.

A target is a test marked `fuzz` that calls the fixture of that name. All targets of a run share `FUZZ_SECONDS`.
"""

import logging
import resource
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

T = TypeVar("T")

SECONDS_IN_TESTS = 20.0  # of all targets together, which is half a minute with what they begin with
# A decoder that needs more for one input of this size can be made to stop the process that calls it.
CPU_S_MAX = 1.0
MEMORY_MB_MAX = 512
_EXAMPLES_A_ROUND = 200
_EXAMPLES_MIN = 20  # however slow the machine is
_MUTATIONS_MAX = 12
# What parsers stumble over: structure, limits of integers, bytes that are no UTF-8, lone surrogates, NUL.
_TOKENS = (
    b"[", b"]", b"{", b"}", b'"', b",", b":", b"\\", b"\n", b"\x00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80",
    b"\xef\xbb\xbf", b"null", b"true", b"NaN", b"Infinity", b"-0", b"1e999", b"1E-400", b"0x10", b"-1", b"\\ud800",
    b"\\u0000", b"\xe2\x80\xae", b"9223372036854775808", b"18446744073709551616",
    b"[" * 2_000, b'{"a":' * 2_000, b"9" * 5_000,
)  # fmt: skip

settings.register_profile(
    "fuzz",
    database=None,
    deadline=None,
    print_blob=True,
    max_examples=_EXAMPLES_A_ROUND,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True, slots=True)
class Fuzz:
    """One target's share of the time, and the seed that its rounds begin with."""

    name: str
    seconds: float
    seed: int

    def __call__(self, inputs: st.SearchStrategy[T], check: Callable[[T], object], known: Iterable[T] = ()) -> None:
        """Check the known inputs, then generated ones until the share of time is used."""
        before = _peak_mb()
        end = time.monotonic() + self.seconds
        # What is logged of hundreds of thousands of inputs would be kept for the report of a failure.
        logging.disable(logging.CRITICAL)
        try:
            for value in known:
                check(value)
            rounds = 0
            while rounds == 0 or time.monotonic() < end:
                self._round(inputs, check, rounds, end)
                rounds += 1
        finally:
            logging.disable(logging.NOTSET)
        grown = _peak_mb() - before
        assert grown <= MEMORY_MB_MAX, f"{self.name} grew by {grown} MB"

    def _round(self, inputs: st.SearchStrategy[T], check: Callable[[T], object], number: int, end: float) -> None:
        failed, tried = False, 0

        def body(value: T) -> None:
            nonlocal failed, tried
            tried += 1
            # Once an input fails, time no longer counts: Hypothesis has to see it fail again to make it smaller.
            if tried > _EXAMPLES_MIN and not failed and time.monotonic() >= end:
                return
            try:
                check(value)
            except BaseException:
                failed = True
                raise

        run = seed(self.seed + number)(settings(settings.get_profile("fuzz"))(given(inputs)(body)))
        try:
            with warnings.catch_warnings():
                # An input may be long; the failure's own message is what counts.
                warnings.simplefilter("ignore", HypothesisWarning)
                run()
        except BaseException as error:
            error.add_note(f"repeat with: make fuzz ARGS='-k {self.name} --randomly-seed={self.seed}'")
            raise


def mutated(corpus: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes that grew from the corpus by a few changes: flips, cuts, repeats, splices and troublesome tokens."""
    assert corpus, "give at least one real input"
    return st.builds(
        _mutate,
        st.sampled_from(list(corpus)),
        st.sampled_from(list(corpus)),
        st.integers(0, _MUTATIONS_MAX),
        st.integers(0, 2**64 - 1),
    )


def mutated_text(corpus: Sequence[str]) -> st.SearchStrategy[str]:
    """Text that grew from the corpus by a few changes."""
    return mutated([text.encode() for text in corpus]).map(lambda value: value.decode(errors="replace"))


def _mutate(value: bytes, other: bytes, times: int, number: int) -> bytes:
    random = Random(number)
    data = bytearray(value)
    for _ in range(times):
        here, there = sorted((random.randrange(len(data) + 1), random.randrange(len(data) + 1)))
        match random.randrange(7):
            case 0 if data:
                data[here % len(data)] ^= 1 << random.randrange(8)
            case 1:
                del data[here : min(there, here + 64)]
            case 2:
                data[here:here] = data[here:there] * random.choice((1, 2, 50))
            case 3:
                data[here:there] = other[: random.randrange(len(other) + 1)]
            case 4:
                data[here:here] = random.choice(_TOKENS)
            case 5:
                data[here : here + 1] = random.choice(_TOKENS)
            case _:
                del data[there:]
        del data[1_000_000:]
    return bytes(data)


def decodes(
    decode: Callable[[T], object], *errors: type[Exception], cpu_s_max: float = CPU_S_MAX
) -> Callable[[T], None]:
    """A check: the decoder gives a value or one of its named errors, in bounded time."""

    def cpu_s(value: T) -> float:
        begun = time.thread_time()
        said = "a value"
        try:
            decode(value)
        except errors as error:
            said = str(error)
        assert said, "an error says what is wrong"
        return time.thread_time() - begun

    def check(value: T) -> None:
        taken = cpu_s(value)
        # A slow machine, or a collection of garbage, is slow once; a slow decoder every time.
        for _ in range(3):
            if taken <= cpu_s_max:
                return
            taken = min(taken, cpu_s(value))
        assert taken <= cpu_s_max, f"took {taken:.2f} s of processor time, over {cpu_s_max}"

    return check


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
