"""What holds for every test: seeds are printed, Hypothesis is calm on slow machines, CI takes no skips."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from fuzzing import SECONDS_IN_TESTS, Fuzz
from kafka_here import Kafka, StartBroker, kafka_here, own_brokers

# A skip whose reason begins so is no failure in CI; each says why nobody can mend it from here.
ALLOWED_SKIPS = {
    "needs root to become another user": "Modes are checked everywhere; only root can also read as somebody else.",
    "needs a loop device": "The power-cut rig mounts a file system, which a sandbox may forbid even to root.",
    "needs docker compose": "The compose file is held to the specification's schema everywhere; Docker may be absent.",
    "needs promtool": "Rules are read by a PromQL parser everywhere; Prometheus's own tool is from a distribution.",
    "needs prometheus-alertmanager": "A recorder takes alerts everywhere; the real one is from a distribution.",
    "needs chromium": "Recorded requests of browsers are replayed everywhere; Chromium is from a distribution.",
    "needs kubectl": "Manifests are built by our own reader everywhere; kubectl only proves that it builds the same.",
}

IN_CI = os.environ.get("CI", "") not in {"", "0", "false"}

# Timing on two shared cores says nothing of the code, so no deadline; a failure prints the blob that repeats it.
settings.register_profile(
    "house", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow], max_examples=100
)
settings.load_profile("house")


def skip_is_allowed(reason: str) -> bool:
    """Say whether a skip of this reason may stand in CI."""
    return any(reason.startswith(known) for known in ALLOWED_SKIPS)


def strict_outcome(outcome: str, reason: str, *, in_ci: bool) -> str:
    """Return what a test's outcome counts as: in CI a skip of no allowed reason is a failure."""
    return "failed" if in_ci and outcome == "skipped" and not skip_is_allowed(reason) else outcome


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the reason of a skipped report, without pytest's prefix."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def _hold(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip that CI does not take into a failure that says so."""
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = _reason(report)
    if strict_outcome(report.outcome, reason, in_ci=IN_CI) == "failed":
        report.outcome = "failed"
        report.longrepr = f"CI takes no skip: {reason!r}. Make it run, or add the reason to ALLOWED_SKIPS."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Hold each test's skip against the list."""
    report = yield
    _hold(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Hold each whole module's skip against the list."""
    report = yield
    _hold(report)
    return report


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """Give a function that checks inputs for this test's share of the time of all that are marked `fuzz`."""
    targets = sum(item.get_closest_marker("fuzz") is not None for item in request.session.items)
    seconds = float(os.environ.get("FUZZ_SECONDS", SECONDS_IN_TESTS)) / targets
    seed = request.config.getoption("randomly_seed", 0)
    return Fuzz(request.node.name, seconds, int(seed))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Give a real Kafka that all tests share: name topics and groups with `kafka_here.fresh_prefix()`."""
    with kafka_here(tmp_path_factory.mktemp("kafka")) as found:
        yield found


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[StartBroker]:
    """Give a function that starts a real broker for this test alone, to be killed, frozen and restarted."""
    with own_brokers(tmp_path) as start:
        yield start
