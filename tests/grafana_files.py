"""Read what stands under infra/grafana, and put into a panel's query what Grafana would. Starts nothing."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra_files import INFRA, Document

GRAFANA = INFRA / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
CLICKHOUSE = "grafana-clickhouse-datasource"
_MACRO = re.compile(r"\$__(\w+)(?:\(([^()]*)\))?")
_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}")


def read_dashboard(path: Path) -> Document:
    """Return a dashboard."""
    document: Document = json.loads(path.read_text(encoding="utf-8"))
    return document


def panels(dashboard: Document) -> list[Document]:
    """Return every panel of a dashboard that shows something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a dashboard, where it stands, and its text."""

    place: str
    target: Document = field(repr=False)

    @property
    def is_sql(self) -> bool:
        """Say whether ClickHouse is asked."""
        return bool(self.target["datasource"]["type"] == CLICKHOUSE)

    @property
    def text(self) -> str:
        """Return what is asked."""
        return str(self.target["rawSql"] if self.is_sql else self.target["expr"])


def queries(paths: Iterable[Path] = DASHBOARDS) -> Iterator[Query]:
    """Yield every query of these dashboards: of panels, of variables, of annotations."""
    for path in paths:
        dashboard = read_dashboard(path)
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield Query(f"{path.stem}: {panel['title']} {target['refId']}", target)
        for variable in dashboard["templating"]["list"]:
            target = {"datasource": variable["datasource"], "rawSql": variable["query"], "queryType": "table"}
            yield Query(f"{path.stem}: ${variable['name']}", target)
        for annotation in dashboard["annotations"]["list"]:
            yield Query(f"{path.stem}: {annotation['name']}", annotation["target"])


@dataclass(frozen=True, slots=True)
class Shown:
    """What a dashboard is set to: its time, how wide a point is, and what is chosen of its variables."""

    from_s: int
    to_s: int
    interval_s: int = 30
    chosen: Mapping[str, Sequence[str]] = field(default_factory=dict)


def expand_sql(text: str, shown: Shown) -> str:
    """Return the statement that ClickHouse gets: variables by Grafana, macros as the plugin's pkg/macros makes them.

    Arguments of macros have no parentheses of their own here. Raises KeyError for what neither knows.
    """
    named = _VARIABLE.sub(lambda found: _variable(found[1], found[2], shown), text)
    return _MACRO.sub(lambda found: _macro(found[1], found[2], shown), named)


def _variable(name: str, form: str | None, shown: Shown) -> str:
    if form != "singlequote":
        raise KeyError(f"${{{name}:{form}}}: names of nodes are text and stand in quotes.")
    return ",".join("'" + value.replace("'", "\\'") + "'" for value in shown.chosen[name])


def _macro(name: str, column: str | None, shown: Shown) -> str:
    first, last = f"toDateTime({shown.from_s})", f"toDateTime({shown.to_s})"
    alone = {"fromTime": first, "toTime": last, "interval_s": str(shown.interval_s)}
    if column is None:
        return alone[name]
    return {
        "timeFilter": f"{column} >= {first} AND {column} <= {last}",
        "timeInterval": f"toStartOfInterval(toDateTime({column}), INTERVAL {shown.interval_s} second)",
    }[name]


def expand_promql(text: str) -> str:
    """Return an expression with a length of time in place of Grafana's."""
    return re.sub(r"\$__(?:rate_interval|range|interval)\b", "5m", text)


def columns_of(target: Mapping[str, Any]) -> set[str]:
    """Return the columns that a panel's overrides speak of."""
    return {one["matcher"]["options"] for one in target["fieldConfig"]["overrides"]}
