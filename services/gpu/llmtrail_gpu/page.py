"""One page of a target as one scrape: which exporter wrote it is told by its names. Pure; never raises for any text."""

from dataclasses import dataclass
from typing import Final

from llmtrail.core.gpu import Engine, EngineSample, GpuScrape, Reason
from llmtrail_gpu import dcgm, engines
from llmtrail_gpu.history import History, engines_after, gpus_after
from llmtrail_gpu.series import PAGE_BYTES_MAX, Rejections, decode_page, read_series

_ERROR_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page came from: the node that it speaks for, and the address; the pod where discovery knows it."""

    host: str
    target: str
    address: str = ""
    namespace: str = ""
    pod: str = ""
    container: str = ""


def why_not(name: str) -> Reason | None:
    """Say why a family of any exporter gives no sample; None where it does."""
    return dcgm.why_not(name) if dcgm.is_dcgm(name) else engines.why_not(name)


def read_page(
    page: bytes, place: Place, sampled_at_ns: int, history: History, error: str = ""
) -> tuple[GpuScrape, History]:
    """Return what a page tells, and what to remember of it for the next one of the same target.

    `error` says why the page may be incomplete. What is over PAGE_BYTES_MAX is a rejection.
    """
    rejections = Rejections()
    if len(page) > PAGE_BYTES_MAX:
        page = page[: page.rfind(b"\n", 0, PAGE_BYTES_MAX) + 1]
        rejections.add("", Reason.OVER_LIMIT)
    series = read_series(decode_page(page), why_not, rejections)
    unread = rejections.total
    of_gpus = [one for one in series if dcgm.is_dcgm(one.name)]
    of_engines = [one for one in series if not dcgm.is_dcgm(one.name)]
    readings = dcgm.gpu_samples(of_gpus, place.host, sampled_at_ns, rejections)
    history, gpus = gpus_after(history, readings)
    told = engines.engine_readings(of_engines, rejections)
    shared = EngineSample(
        sampled_at_ns=sampled_at_ns,
        host=place.host,
        address=place.address,
        engine=Engine.VLLM,  # each sample has its own
        namespace=place.namespace,
        pod=place.pod,
        container=place.container,
    )
    if told:
        history, served = engines_after(history, told, shared)
    else:
        served = ()
    scrape = GpuScrape(
        sampled_at_ns=sampled_at_ns,
        host=gpus[0].host if gpus else place.host,
        target=place.target,
        gpus=gpus,
        engines=served,
        used_lines=len(series) - (rejections.total - unread),
        rejected=tuple(rejections.kept),
        rejected_counts=dict(rejections.counts),
        error=error[:_ERROR_MAX],
    )
    return scrape, history


def failed_scrape(place: Place, sampled_at_ns: int, error: str) -> GpuScrape:
    """Return the scrape of a target that did not answer."""
    return GpuScrape(sampled_at_ns=sampled_at_ns, host=place.host, target=place.target, error=error[:_ERROR_MAX])
