"""TOML from anywhere: every failure is tomllib.TOMLDecodeError. Pure; knows no file of ours.

tomllib itself also raises RecursionError where values are nested deep, and ValueError for a number of 5,000 digits.
"""

import tomllib
from collections.abc import Callable
from typing import Any

# Deeper than any file of ours; whoever reads a document goes down into its tables by recursion.
DEPTH_MAX = 64


def loads(text: str, *, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """Decode a document; raises tomllib.TOMLDecodeError, and nothing else."""
    try:
        document = tomllib.loads(text, parse_float=parse_float)
    except RecursionError:
        raise tomllib.TOMLDecodeError("values are nested too deep") from None
    except tomllib.TOMLDecodeError:
        raise
    except (ValueError, ArithmeticError) as cause:  # a number that its type cannot hold
        raise tomllib.TOMLDecodeError(str(cause) or type(cause).__name__) from cause
    _check_depth(document)
    return document


def _check_depth(document: dict[str, Any]) -> None:
    level: list[Any] = [document]
    for _ in range(DEPTH_MAX):
        level = [value for one in level for value in (one.values() if isinstance(one, dict) else one)]
        level = [value for value in level if isinstance(value, dict | list)]
        if not level:
            return
    raise tomllib.TOMLDecodeError(f"values are nested over {DEPTH_MAX} deep")
