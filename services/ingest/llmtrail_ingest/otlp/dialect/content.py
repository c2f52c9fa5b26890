"""Read messages, answers, tool calls and documents from a span's attributes. Pure; knows no tokens and no ids."""

from typing import Any

from llmtrail_ingest.otlp.dialect.plan import Plan
from llmtrail_ingest.otlp.dialect.values import Attributes, an_object, body_of, content, first, indexed, parsed
from llmtrail_ingest.otlp.records import SpanEvent

_VARIABLES = "gen_ai.prompt.variable."
# The same finish under several names, depending on the instrumentation (and on where in it one looks).
_FINISHES = {"tool_call": "tool_calls"}
# Events of the GenAI conventions that hold one message each -> whose it is.
MESSAGE_EVENTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
    "gen_ai.choice": "choice",
}
# Events that hold whole lists of them.
_TEXT_EVENTS = frozenset(
    {"gen_ai.content.prompt", "gen_ai.content.completion", "gen_ai.client.inference.operation.details"}
)
_IN_TEXT_EVENTS = (
    ("messages", ("gen_ai.input.messages", "gen_ai.prompt")),
    ("output", ("gen_ai.output.messages", "gen_ai.completion")),
)
_JSON_STARTS = frozenset({"[", "{"})
# Where a request's body, or a framework's input, holds what was asked; and where an answer's holds the answer.
_ASKED = ("messages", "input", "contents", "prompt", "inputText", "texts", "query")
_ANSWERED = ("output", "message", "content", "generations", "text")
_ANSWERS = frozenset({"output", "output_body", "output_text", "output_calls"})
_FLAT_ANSWERS = frozenset({"llm.output_messages", "gen_ai.completion"})


def content_of(plan: Plan, attributes: Attributes) -> dict[str, Any]:
    """Return the content fields of the event: messages, prompt, output, tool_calls, input; only what is there."""
    fields: dict[str, Any] = {}
    # An empty list is what some dialects write where content is not recorded.
    messages = _messages(plan, attributes)
    if messages:
        fields["prompt" if isinstance(messages, str) else "messages"] = messages
    output = _output(plan, attributes)
    if output:
        fields["output"] = output
        if calls := tool_calls_of(output) or _function_calls(plan, attributes):
            fields["tool_calls"] = calls
    if variables := _variables(plan, attributes):
        fields["input"] = variables
    return fields


def has_texts(plan: Plan) -> bool:
    """Whether an answer's text is among the attributes."""
    return not _ANSWERS.isdisjoint(plan.names) or not _FLAT_ANSWERS.isdisjoint(plan.flat)


def content_of_events(events: list[SpanEvent]) -> dict[str, Any]:
    """Return messages and output of the events of a span, as older GenAI conventions and their followers write them."""
    fields: dict[str, Any] = {}
    for event in events:
        if (role := MESSAGE_EVENTS.get(event.name)) is not None:
            of_event = message_of(event.attributes, role)
        elif event.name in _TEXT_EVENTS:
            of_event = _of_text_event(event.attributes)
        else:
            continue
        for name, messages in of_event.items():
            fields.setdefault(name, []).extend(messages)
    if calls := tool_calls_of(fields.get("output")):
        fields["tool_calls"] = calls
    return fields


def message_of(body: Attributes, role: str) -> dict[str, list[Any]]:
    """Return one message that came as an event of its own: under `messages`, or under `output` where it answers."""
    plain = {
        name: content(value) if isinstance(value, str) and value[:1] in _JSON_STARTS else value
        for name, value in body.items()
        if not name.startswith(("gen_ai.", "event."))
    }
    if role != "choice":
        return {"messages": [{"role": role, **plain}]}
    message = plain.get("message")
    if not isinstance(message, dict):
        message = {"content": first(plain, ("message", "content"))}
        message |= {"tool_calls": plain["tool_calls"]} if "tool_calls" in plain else {}
    return {"output": [{"role": "assistant", **message, "finish_reason": plain.get("finish_reason")}]}


def _of_text_event(attributes: Attributes) -> dict[str, list[Any]]:
    """Return what `gen_ai.content.prompt` and its like hold: lists of messages as JSON."""
    found: dict[str, list[Any]] = {}
    for name, names in _IN_TEXT_EVENTS:
        value = first(attributes, names)
        if value is not None:
            several = content(value)
            found[name] = several if isinstance(several, list) else [several]
    return found


def tools_of(plan: Plan, attributes: Attributes) -> Any:
    """Return the definitions of the tools that the model was offered, or None."""
    found = plan.first(attributes, "tools")
    if found is not None:
        return [content(one) for one in found] if isinstance(found, list) else content(found)
    if "llm.tools.0.tool.json_schema" in attributes:
        return [content(row.get("tool.json_schema")) for row in indexed(attributes, "llm.tools")]
    if "llm.request.functions.0.name" in attributes:
        return indexed(attributes, "llm.request.functions")
    return None


def finish_reasons_of(plan: Plan | None, attributes: Attributes, output: Any) -> list[str] | None:
    """Return the finish reasons: a list, a list as JSON text, one text, or what the messages of the answer say."""
    found = None if plan is None else plan.first(attributes, "finish")
    if isinstance(found, str):
        as_list = parsed(found)
        found = as_list if isinstance(as_list, list) else (as_list if isinstance(as_list, str) else found).split(", ")
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


def _messages(plan: Plan, attributes: Attributes) -> Any:
    found = plan.first(attributes, "messages")
    if found is not None:
        return _with_system(content(found), plan.first(attributes, "system"))
    for prefix in ("llm.input_messages", "gen_ai.prompt"):
        if prefix in plan.flat and (rows := plan.list_of(attributes, prefix)):
            return [_message(row) for row in rows]
    asked = plan.first(attributes, "input_body")
    if asked is not None and "system" not in plan.names:
        return _of_body(asked)
    if (system := plan.first(attributes, "system")) is not None:
        return _with_system([], system)
    if "embedding.embeddings" in plan.flat:
        return [row.get("embedding.text") for row in plan.list_of(attributes, "embedding.embeddings")] or None
    return None


def _of_body(asked: Any) -> Any:
    """Return the messages of a request's body; the body itself where none are found in it."""
    body = parsed(asked)
    if not isinstance(body, dict):
        return asked if body is None else body
    found = first(body, _ASKED)
    return body if found is None else _with_system(found, body.get("system"))


def _with_system(messages: Any, system: Any) -> Any:
    """Put system instructions, which GenAI sends apart, before the messages, unless they are among them."""
    if system is None or not isinstance(messages, list):
        return messages
    if any(isinstance(message, dict) and message.get("role") in {"system", "developer"} for message in messages):
        return messages
    parts = content(system)
    return [{"role": "system", "parts": parts if isinstance(parts, list) else [parts]}, *messages]


def _output(plan: Plan, attributes: Attributes) -> Any:
    found = plan.first(attributes, "output")
    if found is not None:
        return content(found)
    for prefix in ("llm.output_messages", "gen_ai.completion"):
        if prefix in plan.flat and (rows := plan.list_of(attributes, prefix)):
            return [_message(row) for row in rows]
    if message := _plain_answer(plan, attributes):
        return [message]
    answered = plan.first(attributes, "output_body")
    if answered is None:
        return None
    body = body_of(answered)
    choices = body.get("choices")
    if isinstance(choices, list):
        messages = [
            {**an_object(choice.get("message")), "finish_reason": choice.get("finish_reason")}
            for choice in choices
            if isinstance(choice, dict)
        ]
        return messages or None
    return first(body, _ANSWERED) or content(answered)


def _plain_answer(plan: Plan, attributes: Attributes) -> dict[str, Any]:
    """Return the message of an answer whose text and tool calls are attributes of their own."""
    if "output_text" not in plan.names and "output_calls" not in plan.names:
        return {}
    message: dict[str, Any] = {}
    if (answered := plan.first(attributes, "output_text")) is not None:
        message["content"] = answered
    calls = content(plan.first(attributes, "output_calls"))
    if isinstance(calls, list) and calls:
        message["tool_calls"] = [_flat_tool_call(call) for call in map(an_object, calls)]
    return {"role": "assistant", **message} if message else {}


def _variables(plan: Plan, attributes: Attributes) -> Any:
    found = plan.first(attributes, "variables")
    if found is not None:
        return content(found)
    return {key.removeprefix(_VARIABLES): attributes[key] for key in plan.variables} or None


def _message(row: dict[str, Any]) -> dict[str, Any]:
    """Return one message of a flattened list: OpenInference's `message.…` or OpenLLMetry's plain names."""
    plain = {key.removeprefix("message."): value for key, value in row.items()}
    message = {key: value for key, value in plain.items() if "." not in key}
    if len(message) == len(plain):
        return message  # Most have neither parts nor tool calls.
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


def _function_calls(plan: Plan, attributes: Attributes) -> list[dict[str, Any]]:
    """Return the tool calls that LiteLLM writes alongside the answer's messages, without ids."""
    if "gen_ai.completion" not in plan.flat or "gen_ai.completion.0.function_call.name" not in attributes:
        return []
    prefix = "function_call."
    return [
        {
            key.removeprefix(prefix): value
            for key, value in row.items()
            if key in {f"{prefix}name", f"{prefix}arguments"}
        }
        for row in plan.list_of(attributes, "gen_ai.completion")
    ]


def _flat_tool_call(call: dict[str, Any]) -> dict[str, Any]:
    """Return {id, name, arguments} of a tool call as OpenAI nests it or as dialects flatten it."""
    function = call.get("function")
    if isinstance(function, dict):
        return {"id": call.get("id"), "name": function.get("name"), "arguments": function.get("arguments")}
    named = {
        "id": first(call, ("id", "toolCallId", "call_id")),
        "name": first(call, ("name", "function.name", "toolName")),
        "arguments": first(call, ("arguments", "function.arguments", "input", "args")),
    }
    return {key: value for key, value in named.items() if value is not None}
