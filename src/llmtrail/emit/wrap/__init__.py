"""Record the calls of clients that applications already use. Imports none of them."""

from llmtrail.emit.wrap.client import wrap
from llmtrail.emit.wrap.guard import swallowed
from llmtrail.emit.wrap.litellm import litellm_callback

__all__ = ["litellm_callback", "swallowed", "wrap"]
