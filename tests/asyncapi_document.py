"""Write `schemas/asyncapi.json` from `schemas/topics.toml` and the event's schema. `make docs` runs it."""

import json
from pathlib import Path
from typing import Any

from llmtrail.log.topics import Topic, read_topics

SCHEMAS = Path(__file__).parents[1] / "schemas"
FILE = SCHEMAS / "asyncapi.json"
BINDING = "0.5.0"  # of AsyncAPI's description of Kafka

# What others send to llmtrail, and what it sends to them. The rest is between its own parts.
TAKEN = {"llm.calls", "llm.feedback", "llm.gpu", "llm.activations"}
GIVEN = {"llm.stats", "llm.gpu_stats", "llm.limits", "llm.alerts", "llm.dead_letters"}
_HEADERS = {
    "type": "object",
    "description": "The gateway, the SDK and the settler set them; others may.",
    "properties": {
        "tenant": {"type": "string", "description": "Whose event it is, as the token said: it wins over the event."},
        "source": {"type": "string", "description": "How the event came: http, otlp, sdk."},
        "schema": {"type": "string", "description": "The schema of the value, such as call.v1."},
    },
}


def text() -> str:
    """Return the file's text."""
    return json.dumps(document(read_topics(SCHEMAS)), indent=2, ensure_ascii=False) + "\n"


def document(topics: tuple[Topic, ...]) -> dict[str, Any]:
    """Return the topics as an AsyncAPI 3.0 document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "llmtrail",
            "version": "1",
            "description": "Kafka's topics of llmtrail. Written by `make docs` from topics.toml: change it there. "
            "A prefix of the installation ([kafka] topic_prefix) goes before every address.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_id(topic): _channel(topic) for topic in topics},
        "operations": dict(_operation(topic) for topic in topics if topic.name in TAKEN | GIVEN),
        "components": {"messages": {_id(topic): _message(topic) for topic in topics}},
    }


def _id(topic: Topic) -> str:
    """Return a topic's name as AsyncAPI allows it for a key that others refer to: llm.dead_letters -> deadLetters."""
    first, *others = topic.name.removeprefix("llm.").split("_")
    return first + "".join(word.capitalize() for word in others)


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "description": topic.about,
        "messages": {_id(topic): {"$ref": f"#/components/messages/{_id(topic)}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "replicas": topic.replication,
                "topicConfiguration": {
                    "cleanup.policy": topic.cleanup.value.split(","),
                    "retention.ms": topic.retention_ms,
                    "max.message.bytes": topic.max_message_bytes,
                    "min.insync.replicas": topic.min_insync,
                    "message.timestamp.type": topic.timestamp.value,
                },
                "bindingVersion": BINDING,
            }
        },
    }


def _message(topic: Topic) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": topic.name,
        "summary": topic.about,
        "contentType": "application/json",
        "headers": _HEADERS,
        "payload": {"type": "object", "description": topic.value},
        "bindings": {
            "kafka": {"key": {"type": "string", "description": f"{topic.key}."}, "bindingVersion": BINDING},
        },
    }
    if topic.schema:
        schema = {"$ref": topic.schema}
        message["payload"] = {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": schema}
    return message


def _operation(topic: Topic) -> tuple[str, dict[str, Any]]:
    action = "receive" if topic.name in TAKEN else "send"
    channel = f"#/channels/{_id(topic)}"
    return f"{action}{_id(topic)[0].upper()}{_id(topic)[1:]}", {
        "action": action,
        "channel": {"$ref": channel},
        "summary": topic.about,
        "messages": [{"$ref": f"{channel}/messages/{_id(topic)}"}],
    }
