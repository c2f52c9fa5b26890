"""Send batches over several connections for a while, as fast as allowed; print what was acknowledged."""

import argparse
import http.client
import json
import random
import threading
import time

from events import Template, template
from texts import add_arguments, alike, conversations

# Each text comes again only after so many others that no block of the store holds it twice.
TEMPLATES = 40


class Sender(threading.Thread):
    """One connection that posts bodies in turn and notes when each was acknowledged."""

    def __init__(self, number: int, templates: list[Template], args: argparse.Namespace) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.templates = templates
        self.args = args
        self.acknowledged = 0
        self.refused = 0
        self.sent_bytes = 0
        self.latencies_ms: list[float] = []
        self.marks: list[tuple[float, str]] = []
        self.resource_s = 0.0

    def run(self) -> None:
        """Post until the time is over."""
        connection = http.client.HTTPConnection("127.0.0.1", self.args.port, timeout=60)
        end = time.monotonic() + self.args.seconds
        batch = len(self.templates[0].pieces)
        pause = batch * self.args.connections / self.args.rate if self.args.rate else 0.0
        due = time.monotonic() + pause * self.number / self.args.connections
        count = 0
        while time.monotonic() < end:
            if pause:
                time.sleep(max(0.0, due - time.monotonic()))
                due += pause
            first = (self.number * 10_000_000 + count) * batch
            body, requests = self.templates[count % len(self.templates)].body(first)
            started = time.monotonic()
            connection.request("POST", "/v1/calls", body, {"content-type": "application/x-ndjson"})
            answer = connection.getresponse()
            told = json.loads(answer.read())
            self.latencies_ms.append((time.monotonic() - started) * 1000)
            count += 1
            if answer.status == 200:
                self.acknowledged += told["accepted"]
                self.sent_bytes += len(body)
                self.marks.append((time.time(), requests[-1]))
            else:
                self.refused += batch
                time.sleep(0.2)


def main() -> None:
    """Send, then print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--batch", type=int, default=0, help="events a body; 0 is 500 windows or 70 whole contexts")
    parser.add_argument("--rate", type=float, default=0, help="calls/s over all connections; 0 is as fast as taken")
    parser.add_argument("--seed", type=int, default=1)
    add_arguments(parser)
    parser.add_argument("--alike", action="store_true", help="send made-up texts of the sizes of these")
    args = parser.parse_args()
    args.batch = args.batch or (500 if args.form == "window" else 70)
    texts = conversations(args.texts, args.form, seed=args.seed, count=TEMPLATES * args.batch)
    if args.alike:
        texts = alike(texts, args.seed)
    parts = (texts[index::TEMPLATES] for index in range(TEMPLATES))
    templates = [template(part, random.Random(args.seed + index)) for index, part in enumerate(parts)]
    senders = [Sender(number, templates, args) for number in range(args.connections)]
    started = time.time()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    latencies = sorted(latency for sender in senders for latency in sender.latencies_ms)
    print(
        json.dumps(
            {
                "started": started,
                "ended": time.time(),
                "acknowledged": sum(sender.acknowledged for sender in senders),
                "refused": sum(sender.refused for sender in senders),
                "sent_bytes": sum(sender.sent_bytes for sender in senders),
                "ack_p50_ms": latencies[len(latencies) // 2],
                "ack_p99_ms": latencies[int(len(latencies) * 0.99)],
                "cpu_s": time.process_time(),
            }
        )
    )


if __name__ == "__main__":
    main()
