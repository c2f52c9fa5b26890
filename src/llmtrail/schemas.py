"""Find the contracts that ship with llmtrail: event schemas, examples, migrations. Knows nothing of what they say."""

from pathlib import Path


def schema_folder() -> Path:
    """Return the folder `schemas/`, in a checkout or as installed; raise FileNotFoundError where it is missing."""
    package = Path(__file__).parent
    installed = package / "_schemas"
    if installed.is_dir():
        return installed
    checkout = package.parents[1] / "schemas"
    if (checkout / "events").is_dir():
        return checkout
    raise FileNotFoundError(f"{installed} is missing: install llmtrail again, or run it from a whole checkout.")
