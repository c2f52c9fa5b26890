"""Which field of the event stands in which column. Knows nothing of SQL or Arrow."""

from llmtrail.core.call import Usage

# usage.* keep their names, in the call and in each attempt.
COUNT_FIELDS: tuple[str, ...] = Usage.__struct_fields__
# versions.* -> columns.
VERSION_COLUMNS = {
    "prompt": "prompt_version",
    "prompt_name": "prompt_name",
    "retrieval": "retrieval_version",
    "parser": "parser_version",
    "model_config": "model_config_version",
    "release": "release",
}
# Content fields of the call itself that stand in `bodies` under their own names.
BODY_COLUMNS = ("input", "messages", "prompt", "output", "tool_calls")
