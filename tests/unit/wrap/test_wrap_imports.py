"""The SDK loads no client by itself, and wraps nothing it does not know."""

import subprocess
import sys
import types

import pytest

import llmtrail

HEAVY = ("openai", "anthropic", "litellm", "httpx", "httpx2", "pydantic", "starlette", "pyarrow")


def test_importing_the_sdk_imports_no_client() -> None:
    code = (
        "import sys, llmtrail; llmtrail.wrap(object()); llmtrail.request; llmtrail.record;"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("thing", [object(), types.ModuleType("json"), None, 7])
def test_what_is_not_known_is_returned_as_it_is_with_a_warning(thing: object, caplog: pytest.LogCaptureFixture) -> None:
    assert llmtrail.wrap(thing) is thing
    assert "nothing" in caplog.text
