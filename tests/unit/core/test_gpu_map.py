"""Which GPUs a call ran on, and when by their clocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.gpu_map import (
    CLOCK_GAP_NS,
    Asked,
    Deployment,
    Gap,
    Place,
    Target,
    Told,
    clock_gap,
    host_port,
    sought,
    targets,
    window,
)

_S = 1_000_000_000
PLACES = [
    Place("gpu-1.example", "ml", "vllm-llama-0", "GPU-a", 0),
    Place("gpu-1.example", "ml", "vllm-llama-0", address="10.0.0.5:8000"),
    Place("gpu-1.example", "ml", "vllm-mistral-0", "GPU-b", 1),
    Place("gpu-2", "ml", "vllm-llama-1", "GPU-c", 0),
    Place("gpu-3", "lab", "vllm-llama-9", "GPU-d", 0),
]
LLAMA = Deployment("llama", "http://llm.example:8000/v1", "llama-3", ("gpu-1.example", "gpu-9"), ("0",), ("vllm-*",))


def test_a_deployment_is_found_by_address_and_model() -> None:
    found = targets(Asked("llama-3", "llm.example", 8000, "app"), [LLAMA], PLACES)
    assert found == [Target(Told.CONFIG, ("gpu-1.example", "gpu-9"), ("0",), ("vllm-*",), "llama")]
    assert [place.gpu_uuid for place in PLACES if found[0].holds(place)] == ["GPU-a", ""]


@pytest.mark.parametrize(
    "asked",
    [
        Asked("mistral", "llm.example", 8000),
        Asked("llama-3", "llm.example", 8001),
        Asked("llama-3", "other.example", 8000),
        Asked("llama-3"),
    ],
)
def test_a_deployment_of_another_address_port_or_model_is_none_of_the_calls(asked: Asked) -> None:
    assert targets(asked, [LLAMA], []) == []


def test_a_deployment_that_names_neither_address_nor_model_takes_no_call() -> None:
    assert targets(Asked("llama-3", "x"), [Deployment("all", hosts=("gpu-2",))], []) == []


def test_an_address_of_a_sampled_server_means_its_pod_and_not_its_neighbours() -> None:
    found = targets(Asked("llama-3", "10.0.0.5", 8000), [], PLACES)
    assert found == [Target(Told.ADDRESS, ("gpu-1.example",), pods=("vllm-llama-0",))]
    assert [place.gpu_uuid for place in PLACES if found[0].holds(place)] == ["GPU-a", ""]


@pytest.mark.parametrize("address", ["gpu-2", "GPU-2", "http://gpu-2:8000/v1", "gpu-2.cluster.example"])
def test_an_address_may_be_the_nodes_name(address: str) -> None:
    assert targets(Asked("m", address), [], PLACES) == [Target(Told.ADDRESS, ("gpu-2",))]


@pytest.mark.parametrize("address", ["vllm-llama.ml.svc.cluster.local", "vllm-llama.ml", "http://vllm-llama.ml:8000"])
def test_an_address_may_be_the_service_of_pods_in_its_namespace(address: str) -> None:
    found = targets(Asked("m", address), [], PLACES)
    assert found == [Target(Told.POD, ("gpu-1.example", "gpu-2"), pods=("vllm-llama-0", "vllm-llama-1"))]


def test_a_call_to_its_own_host_ran_there_and_one_to_elsewhere_did_not() -> None:
    assert targets(Asked("m", "localhost", 8000, "gpu-2"), [], PLACES) == [Target(Told.HOST, ("gpu-2",))]
    assert targets(Asked("m", host="gpu-2"), [], PLACES) == [Target(Told.HOST, ("gpu-2",))]
    assert targets(Asked("m", "api.openai.com", 443, "gpu-2"), [], PLACES) == []
    assert targets(Asked("m", "", None, ""), [], PLACES) == []


def test_a_call_of_unknown_host_did_not_run_on_a_node_without_a_name() -> None:
    assert targets(Asked("m", "localhost", 8000), [], [Place("", gpu_uuid="GPU-a")]) == []


def test_two_nodes_of_one_short_name_are_not_guessed_between() -> None:
    assert targets(Asked(host="gpu"), [], [Place("gpu.a"), Place("gpu.b")]) == []


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("", ("", None)),
        ("Host", ("host", None)),
        ("host:80", ("host", 80)),
        ("http://host/v1", ("host", 80)),
        ("https://host", ("host", 443)),
        ("::1", ("::1", None)),
        ("[::1]:8000", ("::1", 8000)),
        ("host:port", ("", None)),
        ("http://[", ("", None)),
    ],
)
def test_addresses_are_read(address: str, wanted: tuple[str, int | None]) -> None:
    assert host_port(address) == wanted


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_text_of_a_call_stops_the_join(model: str, address: str, host: str) -> None:
    assert isinstance(targets(Asked(model, address, None, host), [LLAMA], PLACES), list)


def test_the_quickest_message_tells_a_clock_within_its_way() -> None:
    assert clock_gap([]) is None
    # Two seconds before it was told: the clock is ahead by these, and by the way.
    assert clock_gap([(10 * _S, 8 * _S), (20 * _S, 21 * _S)]) == Gap(2 * _S, 4 * _S)
    assert clock_gap([(10 * _S, 13 * _S), (20 * _S, 21 * _S)]) == Gap(-1 * _S, 1 * _S)


def test_what_a_spool_kept_back_says_nothing_of_a_clock() -> None:
    assert clock_gap([(0, 3_600 * _S)]) == Gap(-CLOCK_GAP_NS, CLOCK_GAP_NS)


def test_what_came_late_by_the_same_time_again_and_again_tells_a_clock_that_is_behind() -> None:
    late = [(second * _S, (second + 4) * _S) for second in (0, 15, 30)]
    assert clock_gap(late) == Gap(-4 * _S, -2 * _S)
    # A spool lets go of all it held at once; and of two messages close together nobody knows.
    assert clock_gap([(second * _S, 34 * _S) for second in (0, 15, 30)]) == Gap(-4 * _S, CLOCK_GAP_NS)
    assert clock_gap(late[:1] * 2) == Gap(-4 * _S, CLOCK_GAP_NS)


def test_a_clock_that_is_surely_off_by_more_is_told_so() -> None:
    gaps = [clock_gap([(second * _S, 0)]) for second in (5, 6)]
    assert [gap is not None and gap.is_large for gap in gaps] == [False, True]
    behind = [clock_gap([(at * _S, (at + lag) * _S) for at in (0, 15)]) for lag in (6, 8)]
    assert [gap is not None and gap.is_large for gap in behind] == [False, True]


_GAPS = st.integers(-5_000, 5_000).map(lambda ms: ms * 1_000_000)
_WAYS = st.lists(st.integers(0, 2_000).map(lambda ms: ms * 1_000_000), min_size=1, max_size=5)


@given(_GAPS, _GAPS, _WAYS, _WAYS, st.integers(0, 100).map(lambda s: s * _S))
def test_the_window_holds_the_call_whatever_both_clocks_show(
    app_ahead_ns: int, node_ahead_ns: int, app_ways: list[int], node_ways: list[int], took_ns: int
) -> None:
    # Given clocks up to 5 s off either way, and messages that took up to 2 s
    began, ended = 1_000 * _S, 1_000 * _S + took_ns
    app = clock_gap((ended + app_ahead_ns, ended + way) for way in app_ways)
    node = clock_gap((began + node_ahead_ns, began + way) for way in node_ways)
    # When the call is placed on the node's clock
    found = window(began + app_ahead_ns, ended + app_ahead_ns, app, node)
    # Then its true time, as that clock showed it, is within
    assert found.first_ns <= began + node_ahead_ns
    assert found.last_ns >= ended + node_ahead_ns
    # And what nobody can know widens it by no more than both messages' ways
    assert found.last_ns - found.first_ns - took_ns <= 4 * CLOCK_GAP_NS


@given(st.integers(-20_000, 20_000).map(lambda ms: ms * 1_000_000), _WAYS)
def test_a_clock_that_is_heard_every_15_s_is_measured_to_2_s_whichever_way_it_is_off(
    ahead_ns: int, ways: list[int]
) -> None:
    # Given a node that sends at once, ways of up to 2 s, and two messages at the least
    heard = [*ways, ways[0]]
    gap = clock_gap((at * 15 * _S + ahead_ns, at * 15 * _S + way) for at, way in enumerate(heard))
    assert gap is not None
    assert gap.least_ns <= ahead_ns <= gap.most_ns
    assert gap.most_ns - gap.least_ns == 2 * _S


def test_where_no_clock_was_measured_both_are_allowed_five_seconds() -> None:
    found = window(100 * _S, 101 * _S, None, None)
    assert (found.first_ns, found.last_ns) == (90 * _S, 111 * _S)


_NODES = st.sampled_from(["gpu-1", "GPU-1.a", "gpu-1.b", "gpu-2", "10.0.0.5", "10", "vllm", ""])
_PODS = st.sampled_from(["vllm-llama-0", "vllm-llama-1", "vllm", "gpu-1-x", "10-a", ""])
_ADDRESSES = st.sampled_from(["gpu-1:8000", "10.0.0.5:8000", "http://vllm.ml:8000", "[::1]:8000", "LLM.example", ""])
_PLACES = st.lists(
    st.builds(
        Place, _NODES, st.sampled_from(["ml", "lab", ""]), _PODS, st.sampled_from(["GPU-a", ""]), st.none(), _ADDRESSES
    ),
    max_size=8,
)
_ASKED = st.builds(
    Asked,
    st.sampled_from(["llama-3", "m"]),
    st.sampled_from(["vllm.ml.svc", "http://gpu-1.b:8000/v1", "localhost", "::1", "gpu-1.a"]) | _NODES | _ADDRESSES,
    st.sampled_from([None, 8000]),
    _NODES,
)
_FEW = st.sampled_from([(), ("gpu-1",)])
_PATTERNS = st.sampled_from([(), ("vllm-*",), ("*-0", "vllm"), ("vllm-llam[ab]-?",)])
_DEPLOYMENTS = st.lists(
    st.builds(Deployment, st.just("d"), _ADDRESSES, st.sampled_from(["llama-3", ""]), _FEW, st.just(()), _PATTERNS),
    max_size=2,
)


@given(st.lists(_ASKED, max_size=3), _DEPLOYMENTS, _PLACES)
def test_the_places_that_are_sought_are_all_that_a_call_needs(
    calls: list[Asked], deployments: list[Deployment], places: list[Place]
) -> None:
    wanted = sought(calls, deployments)
    found = [place for place in places if wanted.wants(place)]
    for asked in calls:
        meant = targets(asked, deployments, places)
        assert targets(asked, deployments, found) == meant
        for target in meant:
            if not target.hosts:
                assert all(wanted.wants(place) for place in places if target.holds(place))


def test_where_the_configuration_names_the_nodes_no_place_is_sought() -> None:
    wanted = sought([Asked("llama-3", "llm.example", 8000, "app")], [LLAMA])
    assert not any(wanted.wants(place) for place in PLACES)
