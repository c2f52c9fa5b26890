"""The AsyncAPI document is what the topics say, and what AsyncAPI 3.0 takes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import asyncapi_document
from llmtrail.log.topics import read_topics

DOCUMENT: dict[str, Any] = json.loads(asyncapi_document.FILE.read_text())
TOPICS = read_topics(asyncapi_document.SCHEMAS)

_NAMED = r"^[A-Za-z0-9._-]+$"
_REFERENCE = {
    "type": "object",
    "required": ["$ref"],
    "properties": {"$ref": {"type": "string"}},
    "additionalProperties": False,
}
_MESSAGE = {
    "required": ["name", "payload", "contentType"],
    "properties": {key: {} for key in ("name", "summary", "contentType", "headers", "payload", "bindings")},
    "additionalProperties": False,
}
# What AsyncAPI 3.0.0 and its Kafka binding 0.5.0 demand of the parts that we use, and nothing that we do not use.
WANTED = {
    "type": "object",
    "required": ["asyncapi", "info"],
    "additionalProperties": False,
    "properties": {
        "asyncapi": {"const": "3.0.0"},
        "info": {
            "required": ["title", "version"],
            "properties": {
                "title": {"type": "string"},
                "version": {"type": "string"},
                "description": {"type": "string"},
                "license": {"required": ["name"]},
            },
            "additionalProperties": False,
        },
        "defaultContentType": {"type": "string"},
        "channels": {
            "minProperties": 1,
            "propertyNames": {"pattern": _NAMED},
            "additionalProperties": {
                "properties": {
                    "address": {"type": "string"},
                    "description": {"type": "string"},
                    "messages": {"propertyNames": {"pattern": _NAMED}, "additionalProperties": _REFERENCE},
                    "bindings": {
                        "properties": {
                            "kafka": {
                                "properties": {
                                    "topic": {"type": "string"},
                                    "partitions": {"type": "integer", "minimum": 1},
                                    "replicas": {"type": "integer", "minimum": 1},
                                    "topicConfiguration": {
                                        "properties": {
                                            "cleanup.policy": {
                                                "type": "array",
                                                "items": {"enum": ["compact", "delete"]},
                                            },
                                            "retention.ms": {"type": "integer", "minimum": -1},
                                            "max.message.bytes": {"type": "integer", "minimum": 0},
                                        }
                                    },
                                    "bindingVersion": {"const": "0.5.0"},
                                },
                                "additionalProperties": False,
                            }
                        },
                        "additionalProperties": False,
                    },
                },
                "additionalProperties": False,
            },
        },
        "operations": {
            "propertyNames": {"pattern": _NAMED},
            "additionalProperties": {
                "required": ["action", "channel"],
                "properties": {
                    "action": {"enum": ["send", "receive"]},
                    "channel": _REFERENCE,
                    "summary": {"type": "string"},
                    "messages": {"type": "array", "items": _REFERENCE},
                },
                "additionalProperties": False,
            },
        },
        "components": {
            "properties": {"messages": {"propertyNames": {"pattern": _NAMED}, "additionalProperties": _MESSAGE}},
            "additionalProperties": False,
        },
    },
}


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _resolved(reference: str) -> object:
    found: Any = DOCUMENT
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found


def test_the_document_is_fresh() -> None:
    assert asyncapi_document.FILE.read_text() == asyncapi_document.text(), "run `make docs`"


def test_the_document_is_as_asyncapi_demands() -> None:
    jsonschema.validate(DOCUMENT, WANTED)


@pytest.mark.parametrize("breach", ["asyncapi", "info"])
def test_a_document_without_its_head_is_refused(breach: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({name: value for name, value in DOCUMENT.items() if name != breach}, WANTED)


def test_every_reference_leads_somewhere() -> None:
    references = set(_references(DOCUMENT))
    files = {reference for reference in references if not reference.startswith("#/")}
    assert files == {"events/call.v1.json"}
    assert all(Path(asyncapi_document.SCHEMAS / file).is_file() for file in files)
    assert all(isinstance(_resolved(reference), dict) for reference in references - files)


def test_every_topic_is_in_the_document_under_its_own_name() -> None:
    assert [channel["address"] for channel in DOCUMENT["channels"].values()] == [topic.name for topic in TOPICS]
    assert {topic.name for topic in TOPICS} > asyncapi_document.TAKEN | asyncapi_document.GIVEN


def test_an_operations_messages_are_of_its_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        assert all(message["$ref"].startswith(operation["channel"]["$ref"] + "/") for message in operation["messages"])
