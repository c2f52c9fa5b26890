"""Read what OpenAI's images and audio interfaces answer, whole or in events. Pure. Pictures themselves are not kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from llmtrail.core.usage import cost_of
from llmtrail.emit.wrap.error_bodies import error_of
from llmtrail.emit.wrap.found import Assembled, Found, list_of, mapping_of, text_of
from llmtrail.emit.wrap.usage import counted, with_foreign_tokens

# The last events of streams: image_generation.completed, image_edit.completed, transcript.text.done
_LAST = (".completed", ".done")
_KEPT_OF_IMAGES = ("size", "quality", "background", "output_format")


def read_images(body: Mapping[str, Any]) -> Found:
    """Read the body of an images answer: how many there are and what they are; what was paid is in the usage."""
    images = list_of(body.get("data")) or ([body] if "b64_json" in body else [])
    kept = {f"images.{name}": value for name in _KEPT_OF_IMAGES if (value := text_of(body.get(name)))}
    # Drawing as text is another model's work.
    foreign = mapping_of(body.get("svg_usage")).get("total_tokens")
    counts = counted(body.get("usage"), "openai_images")
    return Found(
        usage=with_foreign_tokens(counts, foreign if isinstance(foreign, int) else 0),
        reported_cost_nanousd=cost_of(mapping_of(body.get("usage"))),
        attributes={"images.count": len(images), **kept},
        **_failed(body, is_answered=bool(images)),
    )


def read_transcription(body: Mapping[str, Any]) -> Found:
    """Read the body of a transcription or translation."""
    text = text_of(body.get("text"))
    usage = mapping_of(body.get("usage"))
    seconds = usage.get("seconds", body.get("duration"))
    return Found(
        output=text,
        usage=counted(usage),
        reported_cost_nanousd=cost_of(usage),
        attributes={"audio.seconds": seconds} if isinstance(seconds, int | float) else {},
        **_failed(body, is_answered=text is not None),
    )


def assemble_media(events: Sequence[tuple[str | None, Any]]) -> Assembled:
    """Return the last event's body: it holds the whole answer; without it the pieces of text must do."""
    first: int | None = None
    pieces: list[str] = []
    for position, (name, data) in enumerate(events):
        event = mapping_of(data)
        kind = text_of(event.get("type")) or name or ""
        if kind.endswith(_LAST):
            return Assembled(event, complete=True, first_content=position if first is None else first)
        if piece := text_of(event.get("delta")):
            pieces.append(piece)
        if first is None and (piece or "b64_json" in event):
            first = position
    return Assembled({"text": "".join(pieces)} if pieces else None, complete=False, first_content=first)


def _failed(body: Mapping[str, Any], *, is_answered: bool) -> dict[str, Any]:
    error = None if is_answered else error_of(body)
    if error is None:
        return {}
    return {
        "failure_mode": error.failure_mode,
        "error": error.message or error.type or "",
        "error_type": error.type,
        "error_status": error.http_status,
    }
