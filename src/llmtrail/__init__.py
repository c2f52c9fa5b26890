"""llmtrail: every LLM call on the trail, found by its request id."""
