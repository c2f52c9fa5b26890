"""Calls of Bedrock's client with AWS's own signing and decoding, recorded; prints each call as a line of JSON."""

import json
import sys
import warnings

import anthropic

import llmtrail
from llmtrail.testing import captured

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"

warnings.simplefilter("ignore")
with captured() as trail:
    client = llmtrail.wrap(
        anthropic.AnthropicBedrock(
            aws_access_key="AKIATEST",
            aws_secret_key="secret",
            aws_region="us-east-1",
            base_url=sys.argv[1],
            max_retries=0,
        )
    )
    messages = [{"role": "user", "content": "Where is my parcel?"}]
    for _ in client.messages.create(model=MODEL, max_tokens=10, messages=messages, stream=True):
        pass
    with client.messages.stream(model=MODEL, max_tokens=10, messages=messages) as stream:
        stream.get_final_message()
    for call in trail.calls:
        print(json.dumps(call))
