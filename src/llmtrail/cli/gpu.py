"""`llmtrail gpu`: samples of GPUs and model servers of a node."""

import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, KafkaOption, example, settings
from llmtrail.cli.safe_text import safe_line
from llmtrail.cli.serving import serving
from llmtrail.cli.terminal import print_bytes, print_text
from llmtrail.config import Config

if TYPE_CHECKING:
    from llmtrail.core.gpu import EngineSample, GpuSample, GpuScrape

_INSTALL = "pip install 'llmtrail[gpu]'."
EXAMPLE = example(
    "llmtrail gpu --once http://127.0.0.1:9400/metrics",
    "llmtrail gpu --once nvml --json",
    "llmtrail gpu --simulate --sim-port 9400",
    "llmtrail gpu --target http://127.0.0.1:9400 --interval 15",
)


def command(
    once: Annotated[
        str | None, typer.Option(metavar="URL|nvml", help="Read one target once and print what would be sent.")
    ] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Serve the pages of a node that throttles and loses a GPU (XID 79).")
    ] = False,
    sim_port: Annotated[int, typer.Option("--sim-port", help="Port of the simulated pages on loopback; 0: any.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 1,
    target: Annotated[
        list[str] | None, typer.Option(help="Page to read, besides those of the settings; more than once.")
    ] = None,
    interval_s: Annotated[
        float | None, typer.Option("--interval", help="Seconds between readings, 1 to 60. Default: 15.")
    ] = None,
    deadline_s: Annotated[
        float | None, typer.Option("--deadline", help="Seconds that a target may take to answer. Default: 5.")
    ] = None,
    kafka: KafkaOption = None,
    gateway: Annotated[str | None, typer.Option(help="Gateway that takes samples, where Kafka is not used.")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    host: Annotated[str | None, typer.Option(help="Address to bind. Default: 127.0.0.1.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Health. Default: 4318; 0: any.", show_default=False)] = None,
    json: JsonOption = False,
) -> None:
    """Sample GPUs and model servers of this node and bring the samples to the log.

    With --once, exit code 1 says that nothing was told or that lines were rejected.
    """
    said = {
        "kafka.bootstrap_servers": kafka,
        "gpu.gateway": gateway,
        "gpu.interval_s": interval_s,
        "gpu.deadline_s": deadline_s,
    }
    loaded = settings(config, data, said, host=host, port=port).config
    if once is not None:
        read = _read_driver(loaded.gpu.node) if once == "nvml" else _read_page(once, loaded)
        _show(read, as_json=json)
    elif simulate:
        _simulate(seed, sim_port)
    else:
        gpu = replace(loaded.gpu, targets=(*loaded.gpu.targets, *(target or ())))
        with serving(replace(loaded, gpu=gpu), "gpu") as process:
            from llmtrail.roles.gpu import start

            start(replace(loaded, gpu=gpu), process)


def _read_page(target: str, config: Config) -> "GpuScrape":
    """Read one page; raises CommandError where it cannot be reached."""
    try:
        from llmtrail_gpu.fetch import FetchError, Request, check_url, fetcher
        from llmtrail_gpu.history import History
        from llmtrail_gpu.page import Place, read_page
    except ImportError as error:
        raise CommandError(Exit.WRONG_USE, f"{error.name}: {_INSTALL}") from error
    from urllib.parse import urlsplit

    from llmtrail.clock import SystemClock

    try:
        url, fetch = check_url(target), fetcher(config.client, config.gpu.allowed_addresses)
    except ValueError as error:
        raise CommandError(Exit.WRONG_USE, str(error)) from error
    try:
        fetched = fetch(Request(url, config.gpu.deadline_s))
    except FetchError as error:
        raise CommandError(Exit.UNREACHABLE, f"{url}: {error}.") from error
    place = Place(config.gpu.node or socket.gethostname(), url, urlsplit(url).netloc)
    return read_page(fetched.page, place, SystemClock().now_ns(), History(), fetched.error)[0]


def _read_driver(node: str) -> "GpuScrape":
    """Read the driver; raises CommandError where it does not answer."""
    try:
        from llmtrail_gpu.nvml import Nvml, NvmlError
        from llmtrail_gpu.scraper import NvmlReader
    except ImportError as error:
        raise CommandError(Exit.WRONG_USE, f"{error.name}: {_INSTALL}") from error
    from llmtrail.clock import SystemClock

    try:
        nvml = Nvml()
    except NvmlError as error:
        raise CommandError(Exit.UNREACHABLE, f"{error}.") from error
    try:
        return NvmlReader(nvml.read, node or socket.gethostname(), SystemClock()).read()
    finally:
        nvml.close()


def _simulate(seed: int, port: int) -> None:
    """Serve a simulated node until interrupted."""
    import signal
    import threading

    from llmtrail.clock import SystemClock
    from llmtrail_gpu.simulate import THROTTLE_FROM_S, XID_AT_S, Node, pages
    from llmtrail_gpu.simulator import Simulator

    clock, node, stop = SystemClock(), Node(seed), threading.Event()
    began_ns = clock.monotonic_ns()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        simulator = Simulator(pages(node), lambda: (clock.monotonic_ns() - began_ns) / 1e9, port)
    except OSError as error:
        raise CommandError(Exit.UNREACHABLE, f"port {port}: {error.strerror}; name another with --sim-port.") from error
    with simulator:
        told = " and ".join(simulator.urls)
        print_text(f"{node.host} is under load: {told}")
        print_text(
            f"GPU {node.hot_gpu} throttles after {THROTTLE_FROM_S:.0f} s, GPU {node.lost_gpu} is lost after "
            f"{XID_AT_S:.0f} s; end with Ctrl-C",
        )
        stop.wait()


def _show(scrape: "GpuScrape", *, as_json: bool) -> None:
    from llmtrail.core.gpu import Reason, encode_scrape

    if as_json:
        print_bytes([encode_scrape(scrape), b"\n"])
    else:
        _print(scrape)
    bad = sum(count for reason, count in scrape.rejected_counts.items() if reason is not Reason.NOT_NEEDED)
    if bad or scrape.error or not (scrape.gpus or scrape.engines):
        raise SystemExit(int(Exit.NEGATIVE))


_WIDTH = 200


def _print(scrape: "GpuScrape") -> None:
    from dataclasses import asdict

    from llmtrail.core.xid import xid_of

    shared = ("sampled_at_ns", "host")
    samples: list[GpuSample | EngineSample] = [*scrape.gpus, *scrape.engines]
    for sample in samples:
        told = {
            name: part for name, part in asdict(sample).items() if part not in (None, "", ()) and name not in shared
        }
        print_text(safe_line(f"{type(sample).__name__} of {sample.host}", _WIDTH))
        for name, part in told.items():
            print_text(f"  {name:26} {safe_line(', '.join(part) if isinstance(part, tuple) else str(part), _WIDTH)}")
    for gpu in scrape.gpus:
        if gpu.last_xid:
            known = xid_of(gpu.last_xid)
            print_text(
                safe_line(f"XID {known.code} on {gpu.gpu_uuid} ({known.kind}): {known.meaning}. {known.advice}", 400)
            )
    for reason, count in sorted(scrape.rejected_counts.items()):
        print_text(f"{count} lines gave no sample: {reason}")
    for line in scrape.rejected:
        print_text(f"  {line.reason:12} {safe_line(line.line, _WIDTH)}")
    if scrape.error:
        print_text(f"the page may be incomplete: {safe_line(scrape.error, _WIDTH)}")
