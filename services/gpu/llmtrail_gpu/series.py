"""Pages of metrics as series, line by line, within limits; what cannot be used is a counted rejection. Pure.

The text format is read by prometheus_client. One bad line fails its whole page there, so then each line is read alone.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from llmtrail.core.gpu import Reason, RejectedLine

# 16 GPUs cut into 112 MIG instances with 60 fields of 400 bytes are 2.7 MB; a page beyond this is no exporter's.
PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
# Lines that are looked at: comments, buckets of histograms and all. The same node has 6,720.
LINES_MAX: Final = 50_000
# Lines that are parsed, at some 50 us each: a page costs a second at most.
SERIES_MAX: Final = 20_000
# A line of Kubernetes labels takes 600 bytes; the parser's time grows faster than a line's length.
LINE_CHARS_MAX: Final = 4_096
# Rejected lines that are kept for a person to read, and how much of each.
REJECTED_KEPT_MAX: Final = 50
REJECTED_CHARS_MAX: Final = 300

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?=[ \t{])")


@dataclass(frozen=True, slots=True)
class Series:
    """One value of one family, with the line that it stood on."""

    name: str
    labels: Mapping[str, str]
    value: float
    line: str


@dataclass(slots=True)
class Rejections:
    """Counts lines that give no sample, and keeps the first of them."""

    counts: Counter[Reason] = field(default_factory=Counter)
    kept: list[RejectedLine] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Return how many lines gave no sample."""
        return self.counts.total()

    def add(self, line: str, reason: Reason, lines: int = 1) -> None:
        """Count `lines` lines, of which `line` is the first; lines that nobody misses are not kept."""
        self.counts[reason] += lines
        if reason is not Reason.NOT_NEEDED and len(self.kept) < REJECTED_KEPT_MAX:
            self.kept.append(RejectedLine(line[:REJECTED_CHARS_MAX], reason))


def decode_page(page: bytes) -> str:
    """Return the text of a page; bytes that are no UTF-8 become replacement signs, so that only their line suffers."""
    return page.decode("utf-8", "replace")


def read_series(text: str, why_not: Callable[[str], Reason | None], rejections: Rejections) -> list[Series]:
    """Return the series of a page whose family is asked for: `why_not` says nothing of its name.

    Never raises: every other line that is no comment is counted in `rejections`.
    """
    wanted: list[str] = []
    lines = text.split("\n", LINES_MAX + 1)
    if len(lines) > LINES_MAX + 1:
        rest = lines.pop()
        rejections.add(rest[:REJECTED_CHARS_MAX], Reason.OVER_LIMIT, rest.count("\n") + 1)
        lines.append("")
    # The format ends every line with a line feed; what stands behind the last one was cut off in transit.
    cut = lines.pop()
    for line in lines:
        _sort_out(line, why_not, wanted, rejections)
    if cut.strip():
        rejections.add(cut[:REJECTED_CHARS_MAX], Reason.CUT)
    return _parse(wanted, rejections)


def _sort_out(line: str, why_not: Callable[[str], Reason | None], wanted: list[str], rejections: Rejections) -> None:
    if not line or line[0] == "#" or line.isspace():
        return
    if len(line) > LINE_CHARS_MAX:
        rejections.add(line, Reason.TOO_LONG)
        return
    named = _NAME.match(line)
    reason = why_not(named[0]) if named else Reason.MALFORMED
    if reason is None and len(wanted) >= SERIES_MAX:
        reason = Reason.OVER_LIMIT
    if reason is None:
        wanted.append(line)
    else:
        rejections.add(line, reason)


def _parse(lines: list[str], rejections: Rejections) -> list[Series]:
    try:
        found = _parsed(lines)
    except _PARSER_ERRORS:
        return list(_one_by_one(lines, rejections))
    return found if len(found) == len(lines) else list(_one_by_one(lines, rejections))


# What prometheus_client raises for text that it cannot read, as hostile pages have shown.
_PARSER_ERRORS: Final = (ValueError, IndexError, KeyError, TypeError, AttributeError)


def _parsed(lines: list[str]) -> list[Series]:
    samples = [
        sample
        for family in text_string_to_metric_families("".join(f"{line}\n" for line in lines))
        for sample in family.samples
    ]
    return [
        Series(sample.name, sample.labels, float(sample.value), line)
        for sample, line in zip(samples, lines, strict=False)
    ]


def _one_by_one(lines: Iterable[str], rejections: Rejections) -> Iterable[Series]:
    for line in lines:
        try:
            found = _parsed([line])
        except _PARSER_ERRORS:
            found = []
        if len(found) == 1:
            yield found[0]
        else:
            rejections.add(line, Reason.MALFORMED)
