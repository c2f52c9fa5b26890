"""Whatever an exporter, a file of targets or an API server answers, it is samples, targets or a reason."""

import json
from pathlib import Path

import pytest

import hostile_inputs
from fuzzing import Fuzz, decodes, mutated
from llmtrail.core.gpu import decode_scrape, encode_scrape
from llmtrail_gpu.history import History
from llmtrail_gpu.page import Place, read_page
from llmtrail_gpu.targets import TargetsError, file_targets, named_targets, pod_targets

FIXTURES = Path(__file__).parents[1] / "fixtures"
PAGES = [
    *(path.read_bytes() for path in sorted((FIXTURES / "gpu").glob("*.prom"))),
    *(path.read_bytes() for path in sorted((FIXTURES / "field").glob("*/page.txt"))),
]
PLACE = Place("here", "t", "t:1")


@pytest.mark.fuzz
def test_any_page_is_samples_or_rejected_lines(fuzz: Fuzz) -> None:
    def check(page: bytes) -> None:
        scrape, history = read_page(page, PLACE, 10**18, History())
        again, _ = read_page(page, PLACE, 10**18 + 10**9, history)
        for one in (scrape, again):
            assert decode_scrape(encode_scrape(one)) == one

    fuzz(mutated(PAGES), decodes(check), [*hostile_inputs.PAGES.values(), *PAGES])


TARGETS = [
    b'[{"targets": ["127.0.0.1:9400"], "labels": {"node": "n", "__metrics_path__": "/m", "__scheme__": "http"}}]',
    b'[{"targets": ["[::1]:9400", "host"]}]',
]


@pytest.mark.fuzz
def test_any_file_of_targets_is_targets_or_a_reason(fuzz: Fuzz) -> None:
    fuzz(mutated(TARGETS), decodes(file_targets, TargetsError), hostile_inputs.JSON.values())


POD = {
    "metadata": {
        "name": "vllm-0",
        "namespace": "ml",
        "labels": {"app": "vllm"},
        "annotations": {"prometheus.io/scrape": "true"},
    },
    "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "metrics", "containerPort": 8000}]}]},
    "status": {"podIP": "10.0.0.1", "phase": "Running"},
}


@pytest.mark.fuzz
def test_any_answer_of_the_api_server_is_targets_or_a_reason(fuzz: Fuzz) -> None:
    def check(body: bytes) -> None:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return  # as discovery says it
        if isinstance(document, dict):
            pod_targets(document)

    fuzz(mutated([json.dumps({"items": [POD]}).encode()]), decodes(check, TargetsError), hostile_inputs.JSON.values())


@pytest.mark.fuzz
def test_any_address_of_a_target_is_used_or_refused(fuzz: Fuzz) -> None:
    addresses = ["http://127.0.0.1:9400/metrics", "host:9400", *hostile_inputs.URLS.values()]
    fuzz(
        mutated([one.encode() for one in addresses]).map(lambda value: value.decode(errors="replace")),
        decodes(lambda url: named_targets([url]), TargetsError),
        hostile_inputs.URLS.values(),
    )
