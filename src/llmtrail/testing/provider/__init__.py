"""A local stand-in for LLM providers: real HTTP, realistic answers, faults on demand. Needs `llmtrail[embedded]`.

It knows nothing of llmtrail's events: tests and the demo point real clients at it.
"""

from llmtrail.testing.provider.faults import FaultMix, Step, StepKind, parse_step
from llmtrail.testing.provider.server import ProviderSimulator, SeenRequest

__all__ = ["FaultMix", "ProviderSimulator", "SeenRequest", "Step", "StepKind", "parse_step"]
