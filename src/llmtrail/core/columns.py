"""Which field of the event stands in which column, as data. Knows nothing of SQL or Arrow."""

from typing import Final

from llmtrail.core.call import Attempt, Call, CallError, Served, Usage, Versions

# What stands here instead of a column of `calls`: the field is content and stands in `bodies`.
BODIES: Final = "bodies"
# Groups, whose fields have columns of their own.
GROUPS: Final = frozenset({"usage", "served", "versions", "error", "parser", "retrieval", "attempts"})

# usage.* keep their names, in the call and in each attempt.
COUNT_FIELDS: Final = Usage.__struct_fields__
# served.* keep theirs.
SERVED_FIELDS: Final = Served.__struct_fields__
# Content fields of the call itself, which stand in `bodies` under their own names.
CONTENT_FIELDS: Final = ("input", "messages", "prompt", "output", "tool_calls")
# Content fields, by their path, -> columns of `bodies`.
BODY_COLUMNS: Final = {
    **{name: name for name in CONTENT_FIELDS},
    "retrieval.query": "retrieval_query",
    "retrieval.documents": "retrieval_documents",
    "parser.value": "parser_value",
    "parser.error": "parser_error",
}
# versions.* -> columns.
VERSION_COLUMNS: Final = {
    "prompt": "prompt_version",
    "prompt_name": "prompt_name",
    "retrieval": "retrieval_version",
    "parser": "parser_version",
    "model_config": "model_config_version",
    "release": "release",
}
_ERROR_COLUMNS: Final = {"type": "error_type", "message": "error_message", "http_status": "http_status"}

# Every field of a call, by its path, -> its column of `calls`, or BODIES.
CALL_COLUMNS: Final = {
    **{name: name for name in Call.__struct_fields__ if name not in GROUPS},
    **{f"usage.{name}": name for name in COUNT_FIELDS},
    **{f"served.{name}": name for name in SERVED_FIELDS},
    **{f"versions.{name}": VERSION_COLUMNS[name] for name in Versions.__struct_fields__},
    **{f"error.{name}": _ERROR_COLUMNS[name] for name in CallError.__struct_fields__},
    "parser.status": "parser_status",
    "retrieval.status": "retrieval_status",
    "retrieval.latency_ms": "retrieval_latency_ms",
    **dict.fromkeys(BODY_COLUMNS, BODIES),
}

# Every field of an attempt, by its path in it, -> its column of `attempts`. An attempt's error may bring a status of
# its own; it stands where the attempt has none.
ATTEMPT_COLUMNS: Final = {
    **{name: name for name in Attempt.__struct_fields__ if name not in GROUPS},
    **{f"usage.{name}": name for name in COUNT_FIELDS},
    **{f"error.{name}": _ERROR_COLUMNS[name] for name in CallError.__struct_fields__},
}
