"""What users test with."""

from llmtrail.testing.captured import Captured, captured

__all__ = ["Captured", "captured"]
