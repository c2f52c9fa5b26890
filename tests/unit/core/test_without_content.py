"""What a look-up leaves out for who may not see texts."""

from llmtrail.core.access.content import without_content


def test_texts_are_absent_and_numbers_stay() -> None:
    call = {
        "call_id": "c",
        "cost_nanousd": 7,
        "messages": [{"content": "hush"}],
        "prompt": "hush",
        "input": {"a": "hush"},
        "output": "hush",
        "tool_calls": ["hush"],
        "attributes": {"x": "hush"},
        "retrieval": {"status": "ok", "query": "hush", "documents": ["hush"]},
        "parser": {"status": "failed", "value": "hush", "error": "hush"},
        "error": {"type": "E", "message": "hush", "http_status": 400},
        "attempts": [{"number": 1, "error": {"type": "E", "message": "hush"}}, {"number": 2}],
    }
    told = without_content({"id": "r", "calls": [call]})
    (left,) = told["calls"]
    assert "hush" not in str(told)
    assert told["content_absent"] == "the token lacks the scope `content`"
    assert (left["cost_nanousd"], left["error"]["http_status"], left["parser"]["status"]) == (7, 400, "failed")
    assert call["prompt"] == "hush"
