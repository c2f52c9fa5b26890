"""A log in memory for tests of code that uses llmtrail. Nothing outlives the process."""

from llmtrail.log.memory import MemoryLog

__all__ = ["MemoryLog"]
