"""Ask a running llmtrail over HTTP. Knows the routes, not what the documents mean."""

import http.client
import json
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.terminal import print_text
from llmtrail.client_tls import TlsFileError, client_context, pinned_context
from llmtrail.config import SYSTEM_TLS, ClientConfig
from llmtrail.core.addresses import crosses_plain, is_loopback
from llmtrail.local import port_file

# A look-up takes milliseconds; SQL may take as long as the server lets it (its own limit is 30 s).
TIMEOUT_S = 60.0
# Told to the user at most: an error page of a proxy in between may be long.
_ERROR_CHARACTERS = 2_000
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class House:
    """Where a running llmtrail answers, and the token it wants (empty: none)."""

    http: str
    sql: str
    token: str = ""
    tls: ClientConfig = SYSTEM_TLS
    certificate: str = ""  # the file of the one that it answers with, where it runs on this machine


def find_house(data: Path, token: str = "", tls: ClientConfig = SYSTEM_TLS) -> House | None:
    """Return where the process of the data folder answers, or None when none is running there."""
    running = port_file.read(data)
    return House(running.http, running.sql, token, tls, running.certificate) if running else None


def get_json(house: House, path: str, *, is_there: bool = False) -> Any | None:
    """Return the JSON document at `path`, None where there is none; raise CommandError when it cannot be had.

    With `is_there` a house that does not know the way at all is no answer.
    """
    try:
        with _opened(house, house.http + path) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            if is_there and not _is_ours(error.read(_ERROR_CHARACTERS)):
                text = f"{house.http} looks up no requests; name the address of `llmtrail up` or `llmtrail web`."
                raise CommandError(Exit.UNREACHABLE, text) from error
            return None
        raise _refused(error) from error
    except (OSError, ValueError) as error:
        raise _unreachable(house.http, error) from error


def get_request(house: House, id_value: str) -> dict[str, Any] | None:
    """Return the document of everything known by this id, or None."""
    found = get_json(house, f"/v1/requests/{urllib.parse.quote(id_value, safe='')}", is_there=True)
    return found if isinstance(found, dict) else None


def post(house: House, path: str, body: bytes, content_type: str) -> Mapping[str, Any]:
    """Post `body` and return the JSON answer, also of a 400; raise CommandError when it was refused or lost."""
    try:
        with _opened(house, house.http + path, body, {"Content-Type": content_type}) as answer:
            return _object(answer.read())
    except urllib.error.HTTPError as error:
        if error.code == 400:
            return _object(error.read())
        raise _refused(error) from error
    except (OSError, ValueError) as error:
        raise _unreachable(house.http, error) from error


@dataclass(frozen=True, slots=True)
class SqlResult:
    """A statement's result as it arrives, and the format that it is in: a statement may name its own."""

    output_format: str
    pieces: Iterator[bytes]


def stream_sql(house: House, statement: str, output_format: str) -> Iterator[bytes]:
    """Run the statement and yield its result as it arrives; raise CommandError with the server's own words."""
    yield from ask_sql(house, statement, output_format).pieces


def ask_sql(house: House, statement: str, output_format: str) -> SqlResult:
    """Run the statement; raise CommandError with the server's own words, also while the result is read."""
    query = urllib.parse.urlencode({"default_format": output_format, "database": "llmtrail"})
    try:
        answer = _opened(house, f"{house.sql}/?{query}", statement.encode())
    except urllib.error.HTTPError as error:
        raise _refused(error) from error
    except OSError as error:
        raise _unreachable(house.sql, error) from error
    return SqlResult(answer.headers.get("X-ClickHouse-Format", output_format), _pieces(house, answer))


def _pieces(house: House, answer: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        with answer:
            while piece := answer.read(_CHUNK_BYTES):
                yield piece
    except OSError as error:
        raise _unreachable(house.sql, error) from error


def _opened(house: House, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Any:
    """Return the answer to a GET, or to a POST of `body`. Raises OSError (HTTPError among them) and ValueError."""
    sent = dict(headers or {})
    if house.token:
        sent["Authorization"] = f"Bearer {house.token}"
        if crosses_plain(url):
            _warn_plain(urllib.parse.urlsplit(url).hostname or "")
    request = urllib.request.Request(url, data=body, headers=sent)  # noqa: S310 - the user's own house.
    try:
        # Whom to ask is the key: the token does not change how.
        opener = _opener(replace(house, token=""), is_loopback(request.host.rpartition(":")[0] or request.host))
    except TlsFileError as error:
        raise CommandError(Exit.WRONG_USE, f"{error}.") from error
    return opener.open(request, timeout=TIMEOUT_S)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Goes where it was told and nowhere else: a redirect would carry the token to whom the answer names."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing; the answer becomes an HTTPError."""


@cache
def _opener(house: House, stays_here: bool) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if stays_here:
        # A proxy is for what leaves this machine.
        handlers.append(urllib.request.ProxyHandler({}))
    if "https://" in house.http + house.sql:
        context = pinned_context(Path(house.certificate), house.tls) if house.certificate else client_context(house.tls)
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


@cache
def _warn_plain(host: str) -> None:
    print_text(
        f"warning: the token crosses plain HTTP to {host}, where others may read it; use https:// (and --ca FILE).",
        to=sys.stderr,
    )


def _object(body: bytes) -> Mapping[str, Any]:
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("the answer is no JSON object")  # noqa: TRY004 - one kind of error for one kind of answer.
    return found


def _refused(error: urllib.error.HTTPError) -> CommandError:
    text = _words(error.read(_ERROR_CHARACTERS).decode("utf-8", errors="replace").strip())
    if error.code == 401:
        return CommandError(Exit.WRONG_USE, f"{text or 'not allowed'} Give a token that may read: --token.")
    if 300 <= error.code < 400:
        target = urllib.parse.urlsplit(error.headers.get("Location") or "")
        return CommandError(
            Exit.UNREACHABLE,
            f"{urllib.parse.urlsplit(error.url).netloc} answers with a redirect, which is not followed; "
            f"if {target.scheme}://{target.netloc} is yours, name it with --address.",
        )
    code = Exit.NEGATIVE if error.code < 500 else Exit.UNREACHABLE
    return CommandError(code, text or f"answered {error.code} {error.reason}")


def _words(answer: str) -> str:
    """Return what a refusal says: the error of a JSON object, else the text as it is."""
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        return answer
    return told["error"] if isinstance(told, dict) and isinstance(told.get("error"), str) else answer


def _is_ours(answer: bytes) -> bool:
    """Say whether an answer of 404 is a reason, not a server that has no such route."""
    try:
        return isinstance(json.loads(answer), dict)
    except (ValueError, RecursionError):
        return False


def _unreachable(url: str, error: Exception) -> CommandError:
    reason = getattr(error, "reason", None) or error
    cure = "Start llmtrail: llmtrail up"
    if isinstance(reason, ssl.SSLCertVerificationError):
        cure = "Name the authority that signs its certificate: --ca FILE, or LLMTRAIL_CA"
    return CommandError(Exit.UNREACHABLE, f"{url} does not answer ({reason}). {cure}")
