"""Which calls of a client are recorded, told by the path they are posted to. Pure; knows no HTTP client."""

from enum import StrEnum
from typing import Final


class Endpoint(StrEnum):
    """One kind of call of a provider's interface."""

    CHAT = "/chat/completions"
    COMPLETIONS = "/completions"
    EMBEDDINGS = "/embeddings"
    RESPONSES = "/responses"
    MESSAGES = "/v1/messages"
    COMPACTIONS = "/responses/compact"
    DECISIONS = "/decisions"
    IMAGES = "/images/generations"
    IMAGE_EDITS = "/images/edits"
    TRANSCRIPTIONS = "/audio/transcriptions"
    TRANSLATIONS = "/audio/translations"


OPERATIONS = {
    Endpoint.CHAT: "chat",
    Endpoint.COMPLETIONS: "text_completion",
    Endpoint.EMBEDDINGS: "embeddings",
    Endpoint.RESPONSES: "chat",
    Endpoint.MESSAGES: "chat",
    Endpoint.COMPACTIONS: "chat",
    Endpoint.DECISIONS: "decision",
    Endpoint.IMAGES: "image_generation",
    Endpoint.IMAGE_EDITS: "image_generation",
    Endpoint.TRANSCRIPTIONS: "transcription",
    Endpoint.TRANSLATIONS: "transcription",
}

# What another model, a former answer or a fixed text is no answer to.
WORDLESS: Final = frozenset(
    {
        Endpoint.EMBEDDINGS,
        Endpoint.COMPACTIONS,
        Endpoint.DECISIONS,
        Endpoint.IMAGES,
        Endpoint.IMAGE_EDITS,
        Endpoint.TRANSCRIPTIONS,
        Endpoint.TRANSLATIONS,
    }
)

BY_PATH = {endpoint.value: endpoint for endpoint in Endpoint}


def endpoint_of(path: str) -> Endpoint | None:
    """Return what is asked for at `path` (as the client's method names it), or None where it is no model call."""
    return BY_PATH.get(path) or BY_PATH.get(path.partition("?")[0])
