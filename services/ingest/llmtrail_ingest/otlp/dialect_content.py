"""Read messages, answers, tool calls and documents from a span's attributes. Pure; knows no tokens and no ids."""

from typing import Any

from llmtrail_ingest.otlp.dialect_values import Attributes, an_object, by_names, content, first, indexed, parsed

_SYSTEM = "gen_ai.system_instructions"
_INPUT = ("gen_ai.input.messages", "gen_ai.prompt")
_OUTPUT = ("gen_ai.output.messages", "gen_ai.completion")
_TOOLS = ("gen_ai.tool.definitions", "llm.request.functions", "llm.tools")
_VARIABLES = "gen_ai.prompt.variable."
# The same finish under several names, depending on the instrumentation (and on where in it one looks).
_FINISHES = {"tool_call": "tool_calls"}


def content_of(attributes: Attributes) -> dict[str, Any]:
    """Return the content fields of the event: messages, prompt, output, tool_calls, input; only what is there."""
    fields: dict[str, Any] = {}
    # An empty list is what some dialects write where content is not recorded.
    messages = _messages(attributes)
    if messages:
        fields["prompt" if isinstance(messages, str) else "messages"] = messages
    output = _output(attributes)
    if output:
        fields["output"] = output
        if calls := tool_calls_of(output) or _function_calls(attributes):
            fields["tool_calls"] = calls
    if variables := _variables(attributes):
        fields["input"] = variables
    return fields


def tools_of(attributes: Attributes) -> Any:
    """Return the definitions of the tools that the model was offered, or None."""
    found = first(attributes, _TOOLS)
    if found is not None:
        return content(found)
    if "llm.tools.0.tool.json_schema" in attributes:
        return [content(row.get("tool.json_schema")) for row in indexed(attributes, "llm.tools")]
    if "llm.request.functions.0.name" in attributes:
        return indexed(attributes, "llm.request.functions")
    return None


def finish_reasons_of(attributes: Attributes, output: Any) -> list[str] | None:
    """Return the finish reasons: a list, a list as JSON text, one text, or what the messages of the answer say."""
    found = first(attributes, ("gen_ai.response.finish_reasons", "llm.finish_reason", "llm.response.finish_reason"))
    if isinstance(found, str):
        as_list = parsed(found)
        found = as_list if isinstance(as_list, list) else [found]
    if not isinstance(found, list):
        messages = output if isinstance(output, list) else []
        found = [message.get("finish_reason") for message in messages if isinstance(message, dict)]
    reasons = [_FINISHES.get(reason, reason)[:256] for reason in found if isinstance(reason, str) and reason]
    return reasons or None


def tool_calls_of(output: Any) -> list[dict[str, Any]]:
    """Return the tool calls in an answer's messages: parts of type `tool_call`, or OpenAI's own `tool_calls`."""
    calls: list[dict[str, Any]] = []
    for message in output if isinstance(output, list) else ():
        if not isinstance(message, dict):
            continue
        calls.extend(
            {name: part[name] for name in ("id", "name", "arguments") if name in part}
            for part in message.get("parts") or ()
            if isinstance(part, dict) and part.get("type") == "tool_call"
        )
        own = message.get("tool_calls")
        calls.extend(_flat_tool_call(call) for call in (own if isinstance(own, list) else ()) if isinstance(call, dict))
    return calls


def retrieval_of(attributes: Attributes) -> dict[str, Any]:
    """Return the retrieval group of a retrieval span: query and documents; only what is there."""
    found: dict[str, Any] = {}
    query = first(attributes, ("gen_ai.retrieval.query.text", "gen_ai.retrieval.query", "input.value"))
    if query is not None:
        found["query"] = content(query)
    documents = first(attributes, ("gen_ai.retrieval.documents", "retrieval.documents"))
    rows = content(documents) if documents is not None else indexed(attributes, "retrieval.documents")
    if rows:
        found["documents"] = (
            [{name.removeprefix("document."): value for name, value in row.items()} for row in rows]
            if documents is None
            else rows
        )
    return found


def _messages(attributes: Attributes) -> Any:
    found = first(attributes, _INPUT)
    if found is not None:
        messages = content(found)
        return _with_system(messages, attributes)
    for prefix in ("llm.input_messages", "gen_ai.prompt"):
        if rows := indexed(attributes, prefix):
            return [_message(row) for row in rows]
    if (system := attributes.get(_SYSTEM)) is not None:
        return _with_system([], {_SYSTEM: system})
    asked = first(attributes, ("input.value", "llm.prompts"))
    if asked is None:
        texts = [row.get("embedding.text") for row in indexed(attributes, "embedding.embeddings")]
        return texts or None
    body = parsed(asked)
    if isinstance(body, dict):
        return first(body, ("messages", "input", "prompt")) or body
    return asked if body is None else body


def _with_system(messages: Any, attributes: Attributes) -> Any:
    """Put system instructions, which GenAI sends apart, before the messages, unless they are among them."""
    system = attributes.get(_SYSTEM)
    if system is None or not isinstance(messages, list):
        return messages
    if any(isinstance(message, dict) and message.get("role") in {"system", "developer"} for message in messages):
        return messages
    parts = content(system)
    return [{"role": "system", "parts": parts if isinstance(parts, list) else [parts]}, *messages]


def _output(attributes: Attributes) -> Any:
    found = first(attributes, _OUTPUT)
    if found is not None:
        return content(found)
    for prefix in ("llm.output_messages", "gen_ai.completion"):
        if rows := indexed(attributes, prefix):
            return [_message(row) for row in rows]
    answered = first(attributes, ("output.value", "response_data"))
    if answered is None:
        return None
    body = an_object(answered)
    choices = body.get("choices")
    if isinstance(choices, list):
        messages = [
            {**an_object(choice.get("message")), "finish_reason": choice.get("finish_reason")}
            for choice in choices
            if isinstance(choice, dict)
        ]
        return messages or None
    return first(body, ("output", "message")) or content(answered)


def _variables(attributes: Attributes) -> Any:
    found = first(attributes, ("llm.prompt_template.variables", "traceloop.prompt.template_variables"))
    if found is not None:
        return content(found)
    return {key.removeprefix(_VARIABLES): attributes[key] for key in _variables_in(attributes)} or None


@by_names
def _variables_in(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name.startswith(_VARIABLES))


def _message(row: dict[str, Any]) -> dict[str, Any]:
    """Return one message of a flattened list: OpenInference's `message.…` or OpenLLMetry's plain names."""
    plain = {key.removeprefix("message."): value for key, value in row.items()}
    message = {key: value for key, value in plain.items() if "." not in key}
    parts = [
        {key.removeprefix("message_content."): value for key, value in part.items()}
        for part in indexed(plain, "contents")
    ]
    if parts:
        message["parts"] = parts
    calls = [
        {key.removeprefix("tool_call."): value for key, value in call.items()} for call in indexed(plain, "tool_calls")
    ]
    if calls:
        message["tool_calls"] = [_flat_tool_call(call) for call in calls]
    return message


def _function_calls(attributes: Attributes) -> list[dict[str, Any]]:
    """Return the tool calls that LiteLLM writes beside the answer's messages, without ids."""
    if "gen_ai.completion.0.function_call.name" not in attributes:
        return []
    prefix = "function_call."
    return [
        {
            key.removeprefix(prefix): value
            for key, value in row.items()
            if key in {f"{prefix}name", f"{prefix}arguments"}
        }
        for row in indexed(attributes, "gen_ai.completion")
    ]


def _flat_tool_call(call: dict[str, Any]) -> dict[str, Any]:
    """Return {id, name, arguments} of a tool call as OpenAI nests it or as dialects flatten it."""
    function = call.get("function")
    if isinstance(function, dict):
        return {"id": call.get("id"), "name": function.get("name"), "arguments": function.get("arguments")}
    named = {
        "id": call.get("id"),
        "name": first(call, ("name", "function.name")),
        "arguments": first(call, ("arguments", "function.arguments")),
    }
    return {key: value for key, value in named.items() if value is not None}
