"""Whatever stands in a header or an address, it is understood or refused: no request ends in a fault of ours."""

import pytest

import hostile_inputs
from fuzzing import Fuzz, decodes, mutated_text
from llmtrail.core.access.authenticate import (
    AccessRefusal,
    Secret,
    Tokens,
    authenticate,
    bearer_of,
    hash_token,
    password_of,
)
from llmtrail.core.access.grant import Grant, TokenScope
from llmtrail.emit.connection import Connection
from llmtrail.emit.wrap.addressed import read_address

SECRET = "t" * 43
TOKENS = Tokens((Secret(hash_token(SECRET), Grant("sender", "acme", frozenset({TokenScope.INGEST}))),))
HEADERS = [f"Bearer {SECRET}", f"bearer  {SECRET} ", "Basic dXNlcjpwYXNz", "Basic \xe9", "Bearer", "", "Digest a=b"]


@pytest.mark.fuzz
def test_any_authorization_grants_what_its_token_does_or_nothing(fuzz: Fuzz) -> None:
    def check(header: str) -> None:
        for offered in (bearer_of([header]), password_of(header), bearer_of([header, HEADERS[0]])):
            if not isinstance(offered, AccessRefusal):
                granted = authenticate(offered, TOKENS, 0)
                assert isinstance(granted, AccessRefusal) or offered == SECRET

    fuzz(mutated_text(HEADERS), decodes(check), HEADERS)


@pytest.mark.fuzz
def test_any_address_of_a_gateway_is_used_or_refused(fuzz: Fuzz) -> None:
    addresses = [
        "http://127.0.0.1:4318",
        "https://gateway.example:443/base",
        "gateway:4318",
        *hostile_inputs.URLS.values(),
    ]
    fuzz(mutated_text(addresses), decodes(lambda url: Connection(url, SECRET, 1.0), ValueError), addresses)


@pytest.mark.fuzz
def test_any_host_and_path_of_a_provider_is_an_address(fuzz: Fuzz) -> None:
    paths = [
        "/v1/chat/completions",
        "/openai/deployments/a/chat/completions",
        "/model/x%2Fy/invoke",
        "/v1beta/models/g:x",
    ]
    fuzz(mutated_text(paths), decodes(lambda path: read_address(path[:40], path)), paths)
