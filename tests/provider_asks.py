"""What tests ask a provider: one question, one tool."""

from typing import Any

MESSAGES: list[Any] = [{"role": "user", "content": "Where is my order?"}]
TOOL_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": TOOL_SCHEMA}}]
