"""Send trace requests over several connections as fast as they are taken; print what was acknowledged."""

import argparse
import http.client
import json
import threading
import time
from itertools import cycle

from spans import SPANS, fresh, pattern
from texts import add_arguments, alike, conversations

# Each text comes again only after so many others.
PATTERNS = 16


def main() -> None:
    """Send, then print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--alike", action="store_true", help="send made-up texts of the sizes of these")
    add_arguments(parser)
    args = parser.parse_args()
    spans = SPANS if args.form == "window" else SPANS // 7
    texts = conversations(args.texts, args.form, seed=1, count=PATTERNS * spans)
    texts = alike(texts, seed=1) if args.alike else texts
    bodies = [pattern(texts[index::PATTERNS]) for index in range(PATTERNS)]
    acknowledged = [0] * args.connections

    def send(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", args.port, timeout=60)
        for body in cycle(bodies):
            if time.monotonic() > end:
                break
            connection.request("POST", "/v1/traces", fresh(body), {"content-type": "application/x-protobuf"})
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                acknowledged[number] += spans

    started, end = time.time(), time.monotonic() + args.seconds
    senders = [threading.Thread(target=send, args=(number,)) for number in range(args.connections)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    told = {"started": started, "acknowledged": sum(acknowledged), "span_bytes": sum(map(len, bodies)) // len(texts)}
    print(json.dumps(told | {"cpu_s": time.process_time()}))


if __name__ == "__main__":
    main()
