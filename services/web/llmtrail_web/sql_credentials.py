"""The places where ClickHouse's clients put a password, which here is a token. Knows no token."""

from starlette.requests import Request

from llmtrail.core.access.authenticate import AccessReason, AccessRefusal, bearer_of, only_one, password_of


def presented(request: Request) -> str | AccessRefusal | None:
    """Return the token that a request brings: by `Bearer` or `Basic`, as X-ClickHouse-Key, or as `password`.

    Drivers fill several of these places; empty ones count for nothing, and different ones are refused.
    """
    in_header = _authorization(request.headers.getlist("authorization"))
    if isinstance(in_header, AccessRefusal):
        return in_header
    keys, passwords = request.headers.getlist("x-clickhouse-key"), request.query_params.getlist("password")
    return only_one([in_header, *keys, *passwords])


def _authorization(headers: list[str]) -> str | AccessRefusal | None:
    if len(set(headers)) > 1:
        return AccessRefusal(AccessReason.AMBIGUOUS)
    if headers and headers[0].partition(" ")[0].lower() == "basic":
        return password_of(headers[0])
    return bearer_of(headers)
