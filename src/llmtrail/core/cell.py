"""What is counted for one scope in one slot of time: sums that add up in any order, and can be taken back. Pure."""

import msgspec

from llmtrail.core.sketch import Histogram, add_counts


class Cell(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """The sums of one scope in one slot. All are signed: a revision brings the new minus the old.

    What a call did not tell adds nothing to a sum; `unpriced` and `retry_unknown` count the calls that told nothing.
    """

    calls: int = 0
    errors: int = 0  # calls that ended with status error
    cost_nanousd: int = 0  # of the calls that have a price
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    attempts: int = 0  # as told; a call that tells none counts one
    retries: int = 0
    retry_unknown: int = 0
    policy_differed: int = 0  # calls whose failure was handled otherwise than their feature's policy declares
    failures: dict[str, int] = {}  # calls by failure mode
    latency: Histogram = {}  # of latency_ms
    time_to_first_token: Histogram = {}  # of time_to_first_token_ms

    def add(self, other: "Cell") -> None:
        """Add another cell's sums to these."""
        self.calls += other.calls
        self.errors += other.errors
        self.cost_nanousd += other.cost_nanousd
        self.unpriced += other.unpriced
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cache_read_tokens += other.cache_read_tokens
        self.cache_write_tokens += other.cache_write_tokens
        self.reasoning_tokens += other.reasoning_tokens
        self.attempts += other.attempts
        self.retries += other.retries
        self.retry_unknown += other.retry_unknown
        self.policy_differed += other.policy_differed
        for mode, count in other.failures.items():
            total = self.failures.get(mode, 0) + count
            if total:
                self.failures[mode] = total
            else:
                self.failures.pop(mode, None)
        if other.latency:
            add_counts(self.latency, other.latency)
        if other.time_to_first_token:
            add_counts(self.time_to_first_token, other.time_to_first_token)

    def copy(self) -> "Cell":
        """Return an equal cell that shares nothing with this one."""
        # Not by `add`: histograms of hundreds of buckets are copied for each partial that touches them.
        return msgspec.structs.replace(
            self,
            failures=dict(self.failures),
            latency=dict(self.latency),
            time_to_first_token=dict(self.time_to_first_token),
        )

    def negated(self) -> "Cell":
        """Return the cell that takes this one back."""
        sums = {name: -getattr(self, name) for name in SUMS}
        return Cell(
            **sums,
            failures={mode: -count for mode, count in self.failures.items()},
            latency={bucket: -count for bucket, count in self.latency.items()},
            time_to_first_token={bucket: -count for bucket, count in self.time_to_first_token.items()},
        )

    @property
    def is_zero(self) -> bool:
        """Say whether nothing is left in it."""
        return self == _ZERO

    @property
    def weight(self) -> tuple[int, int]:
        """Return what makes a request, session or prompt worth watching: its attempts, then its cost."""
        return self.attempts, self.cost_nanousd


# Plain sums: every field that is no table.
SUMS = tuple(name for name in Cell.__struct_fields__ if name not in {"failures", "latency", "time_to_first_token"})
_ZERO = Cell()
