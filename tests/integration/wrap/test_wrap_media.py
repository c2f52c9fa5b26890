"""Images, transcriptions and compactions are calls too: what they cost is recorded, pictures and sound are not."""

import io
import json
from typing import Any

import openai
import pytest

import llmtrail
from answering_server import answering
from llmtrail.testing import captured

IMAGES_USAGE = {
    "total_tokens": 4210,
    "input_tokens": 50,
    "output_tokens": 4160,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
}


def client_at(url: str) -> openai.OpenAI:
    return llmtrail.wrap(openai.OpenAI(api_key="k", base_url=url, max_retries=0), provider="openai")


def test_a_generated_image_is_a_call_of_image_tokens() -> None:
    answer = {"created": 1, "data": [{"b64_json": "QUJD" * 100}], "size": "1024x1024", "usage": IMAGES_USAGE}
    with answering(answer) as server, captured() as trail:
        client_at(server.url).images.generate(model="gpt-image-1", prompt="A parcel")
        (call,) = trail.calls

    assert (call["operation"], call["request_model"], call["prompt"]) == ("image_generation", "gpt-image-1", "A parcel")
    assert call["usage"] == {
        "input_tokens": 50,
        "output_tokens": 4160,
        "input_image_tokens": 40,
        "output_image_tokens": 4160,
        "total_tokens": 4210,
    }
    assert call["attributes"]["images.count"] == 1
    assert "QUJD" not in json.dumps(call)


@pytest.mark.parametrize("is_raw", [False, True])
def test_an_edited_image_tells_its_model_though_its_form_holds_files(is_raw: bool) -> None:
    answer = {"created": 1, "data": [{"b64_json": "QUJD"}], "usage": IMAGES_USAGE}
    with answering(answer) as server, captured() as trail:
        images = client_at(server.url).images
        edit: Any = images.with_raw_response.edit if is_raw else images.edit
        edit(model="gpt-image-1", prompt="Older", image=("parcel.png", io.BytesIO(b"PNG"), "image/png"))
        (call,) = trail.calls

    assert (call["request_model"], call["prompt"], call["status"]) == ("gpt-image-1", "Older", "ok")
    assert call["usage"]["output_image_tokens"] == 4160


def test_a_streamed_image_is_one_call_with_its_last_events_usage() -> None:
    events: list[dict[str, Any]] = [
        {"type": "image_generation.partial_image", "b64_json": "QUJD", "partial_image_index": 0},
        {"type": "image_generation.completed", "b64_json": "QUJD", "usage": IMAGES_USAGE},
    ]
    stream = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    with answering(stream) as server, captured() as trail:
        for _ in client_at(server.url).images.generate(model="gpt-image-1", prompt="A parcel", stream=True):
            pass
        (call,) = trail.calls

    assert (call["status"], call["usage"]["output_image_tokens"]) == ("ok", 4160)
    assert call["time_to_first_token_ms"] > 0
    assert "QUJD" not in json.dumps(call)


def test_a_refused_image_is_a_failed_call_that_names_its_model() -> None:
    error = {"error": {"code": "moderation_blocked", "message": "rejected by the safety system", "type": "image"}}
    with answering(error, 400) as server, captured() as trail:
        with pytest.raises(openai.BadRequestError):
            client_at(server.url).images.edit(
                model="gpt-image-1", prompt="x", image=("a.png", io.BytesIO(b"PNG"), "image/png")
            )
        (call,) = trail.calls

    assert (call["request_model"], call["error"]["http_status"]) == ("gpt-image-1", 400)
    assert (call["status"], call["failure_mode"]) == ("error", "content_filtered")


def test_a_transcription_keeps_its_text_and_audio_tokens() -> None:
    usage = {
        "type": "tokens",
        "input_tokens": 14,
        "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
        "output_tokens": 45,
        "total_tokens": 59,
    }
    with answering({"text": "Where is my parcel?", "usage": usage}) as server, captured() as trail:
        client_at(server.url).audio.transcriptions.create(
            model="gpt-4o-transcribe", file=("a.wav", io.BytesIO(b"RIFF"), "audio/wav")
        )
        (call,) = trail.calls

    assert (call["operation"], call["output"]) == ("transcription", "Where is my parcel?")
    assert call["usage"] == {"input_tokens": 14, "output_tokens": 45, "input_audio_tokens": 10, "total_tokens": 59}


def test_a_transcription_billed_by_its_length_tells_the_length() -> None:
    answer = {"text": "Hello", "usage": {"type": "duration", "seconds": 9}}
    with answering(answer) as server, captured() as trail:
        client_at(server.url).audio.transcriptions.create(
            model="whisper-1", file=("a.wav", io.BytesIO(b"RIFF"), "audio/wav")
        )
        (call,) = trail.calls

    assert "usage" not in call
    assert call["attributes"]["audio.seconds"] == 9


def test_a_decision_is_a_call_with_its_answers() -> None:
    answer = {
        "id": "dec_1",
        "object": "decision",
        "created_at": 1,
        "model": "gpt-6-luna",
        "answers": [{"type": "predicate", "probability": 0.9}],
        "usage": {"input_tokens": 90, "output_tokens": 1, "total_tokens": 91},
    }
    with answering(answer) as server, captured() as trail:
        client: Any = client_at(server.url)
        client.post("/decisions", body={"model": "gpt-6-luna", "input": "Hi", "questions": []}, cast_to=object)
        (call,) = trail.calls

    assert (call["operation"], call["request_model"], call["usage"]["input_tokens"]) == ("decision", "gpt-6-luna", 90)
    assert call["output"]["content"] == answer["answers"]
    assert call["messages"] == [{"role": "user", "content": "Hi"}]


def test_a_compaction_is_a_call_with_tokens_of_its_own() -> None:
    answer = {
        "id": "resp_c",
        "object": "response.compaction",
        "created_at": 1,
        "output": [],
        "usage": {
            "input_tokens": 900,
            "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 0},
            "output_tokens": 40,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 940,
        },
    }
    with answering(answer) as server, captured() as trail:
        client_at(server.url).responses.compact(model="gpt-5.2", input="Hello")
        (call,) = trail.calls

    assert (call["request_model"], call["status"]) == ("gpt-5.2", "ok")
    assert (call["usage"]["input_tokens"], call["usage"]["output_tokens"]) == (900, 40)
