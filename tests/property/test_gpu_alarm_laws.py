"""However samples come, looking only at news and at edges of windows decides as looking at everything all the time."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpu_world import World, alarm, engine, gpu, rules_of, scrape
from llmtrail.core.gpu import EngineSample, GpuSample
from llmtrail.core.gpu_window import GpuWindow
from llmtrail.core.xid import XidClass, xid_of
from llmtrail_alerts.gpu_measure import xid_codes
from llmtrail_alerts.model import GroupKey, Reason

RULES = rules_of(
    alarm("temperature", warning="{ at = 80, clear = 75 }", error="90", hold='"5s"')
    + alarm("xid", critical="1", xid_class='["hardware", "reset"]')
    + alarm("throttled", warning='"20 %"', resolve_after='"5s"')
    + alarm("queue_deep", warning="10", error="50")
    + alarm("node_silent", warning="3")
    + alarm("targets_failing", warning="1")
)
HOSTS = st.sampled_from(["h200-1", "a100-1"])
SAMPLES = st.one_of(
    st.builds(
        gpu,
        st.just("h200-1"),
        st.integers(0, 1),
        temperature_c=st.none() | st.sampled_from([60.0, 78.0, 85.0, 95.0]),
        xid=st.sampled_from([None, None, 79, 31, 48]),
        throttle_reasons=st.sampled_from([(), ("hw_thermal",), ("sw_power_cap",)]),
    ),
    st.builds(engine, waiting=st.none() | st.sampled_from([0, 5, 20, 80])),
)
# What comes, from where, how long after what came before, and whether it could be read.
READINGS = st.lists(st.tuples(st.integers(1, 25), HOSTS, SAMPLES, st.booleans()), min_size=1, max_size=8)
STEP_S = 2
LOOK = settings(max_examples=25, deadline=None)


def levels(world: World) -> dict[GroupKey, int]:
    return {key: state.level for key, state in world.states.items() if state.level >= 0}


@LOOK
@given(READINGS)
@example([(1, "h200-1", engine(waiting=80), False), (1, "a100-1", engine(waiting=0), False)])  # read by two nodes
def test_looking_at_news_and_edges_misses_nothing(
    readings: list[tuple[int, str, GpuSample | EngineSample, bool]],
) -> None:
    sparing, eager = World(RULES), World(RULES)
    told: dict[GroupKey, list[Reason]] = {}

    def pass_by(first_s: int, last_s: int) -> None:
        for second in range(first_s, last_s, STEP_S):
            for verdict in sparing.decide(second):
                told.setdefault(verdict.key, []).append(verdict.reason)
            eager.decide(second, everything=True)

    at_s = 0
    # At the end each node is heard of again, as nodes are that live: what only time could tell is told by then.
    heard = [(8, host, gpu("none", 9), False) for _ in range(10) for host in ("h200-1", "a100-1")]
    for gap_s, host, sample, fails in [*readings, *heard]:
        pass_by(at_s, at_s + gap_s)
        at_s += gap_s
        one = scrape(at_s, *(() if fails else (sample,)), host=host, error="refused" if fails else "")
        for world in (sparing, eager):
            world.take(one)
    pass_by(at_s, at_s + 2 * STEP_S)
    assert levels(sparing) == levels(eager)
    for key, reasons in told.items():
        # Nobody hears of an end without a beginning, nor of two beginnings in a row.
        plain = [reason for reason in reasons if reason in {Reason.FIRST, Reason.RESOLVED}]
        assert plain == [Reason.FIRST, Reason.RESOLVED] * (len(plain) // 2) + [Reason.FIRST] * (len(plain) % 2)
        assert (len(plain) % 2 == 1) == (key in levels(sparing))


def window(xids: list[tuple[int, int]]) -> GpuWindow:
    return GpuWindow(
        host="h",
        gpu_uuid="GPU-0",
        mig_instance="",
        gpu_index=None,
        gpu_name="",
        namespace="",
        pod="",
        samples=1,
        utilization=None,
        memory_used_share=None,
        temperature_c=None,
        power_w=None,
        power_limit_w=None,
        xids=tuple(sorted(xids)),
        ecc_corrected=None,
        ecc_uncorrected=None,
        remapped_rows_corrected=None,
        remapped_rows_uncorrected=None,
        row_remap_failed=None,
        last_sampled_ns=0,
    )


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 200)), max_size=12))
def test_every_error_is_of_exactly_one_class_and_the_gravest_comes_first(xids: list[tuple[int, int]]) -> None:
    one = window(xids)
    by_class = {kind: xid_codes(one, [kind]) for kind in XidClass}
    assert sum(map(len, by_class.values())) == len(xids) == len(xid_codes(one, []))
    if xids:
        first = xid_of(xid_codes(one, [])[0]).kind
        gravest = (XidClass.HARDWARE, XidClass.RESET, XidClass.MEMORY, XidClass.OTHER, XidClass.APPLICATION)
        assert first is next(kind for kind in gravest if by_class[kind])


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 200)), max_size=12), st.sampled_from(list(XidClass)))
def test_a_rule_of_more_classes_sees_no_less(xids: list[tuple[int, int]], more: XidClass) -> None:
    one = window(xids)
    assert len(xid_codes(one, ["hardware", more])) >= len(xid_codes(one, ["hardware"]))
