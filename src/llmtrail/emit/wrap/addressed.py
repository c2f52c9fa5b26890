"""Read what a request's address names: the model, where the body does not name it, and the region. Pure.

Bedrock and Vertex take the model in the path; on Azure the path names the deployment, whatever the body says.
"""

import re
from dataclasses import dataclass
from typing import Final

# Each with its source: AWS's InvokeModel and Converse, Vertex's rawPredict and generateContent, Azure's deployments.
_MODELS: Final = (
    re.compile(r"/model/(.+)/(?:invoke|invoke-with-response-stream|converse|converse-stream)$"),
    re.compile(r"/publishers/[^/]+/models/(.+):[A-Za-z]+$"),
    re.compile(r"/deployments/([^/]+)/"),
)
_REGION_OF_PATH: Final = re.compile(r"/projects/[^/]+/locations/([^/]+)/")
_REGION_OF_HOST: Final = re.compile(r"^bedrock(?:-runtime|-mantle)?(?:-fips)?\.([a-z]{2}[a-z0-9-]*-[0-9]+)\.")


@dataclass(frozen=True, slots=True)
class Address:
    """What an address names; None is unknown."""

    model: str | None = None
    region: str | None = None


def read_address(host: str, path: str) -> Address:
    """Return what `path` (decoded) at `host` names."""
    model = next((found[1] for pattern in _MODELS if (found := pattern.search(path))), None)
    region = _REGION_OF_PATH.search(path) or _REGION_OF_HOST.search(host)
    return Address(model, region[1] if region is not None else None)
