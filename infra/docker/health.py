"""Ask this container's own role whether it is alive or ready: exit code 0 or 1. Knows no role; needs only Python."""

import os
import sys
import urllib.error
import urllib.request

# Shorter than the health check's own timeout, so that the reason is told before it is ended.
TIMEOUT_S = 2.5


def main(arguments: list[str]) -> int:
    """Return 0 where the route answers 200; else print why and return 1."""
    route = arguments[0] if arguments else "/healthz"
    url = f"http://127.0.0.1:{os.environ.get('LLMTRAIL_SERVER__PORT', '4318')}{route}"
    try:
        # The address is this container's own, whatever proxy the environment names.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            return 0 if answer.status == 200 else 1
    except urllib.error.HTTPError as error:
        # `/readyz` says which part is not ready.
        print(error.read(2_000).decode(errors="replace"))
    except OSError as error:
        print(f"{url}: {error}")
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
