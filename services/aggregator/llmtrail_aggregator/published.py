"""Which slots are still to be published: each once, however often it changed. Pure."""

from llmtrail.core.slot import SlotKey


class Published:
    """The newest value of every slot that changed since it was last taken."""

    def __init__(self) -> None:
        self._waiting: dict[SlotKey, bytes | None] = {}

    def put(self, key: SlotKey, value: bytes) -> None:
        """Have a slot published with this value."""
        self._waiting[key] = value

    def delete(self, key: SlotKey) -> None:
        """Have a slot published as gone."""
        self._waiting.pop(key, None)
        self._waiting[key] = None

    def take(self) -> list[tuple[SlotKey, bytes | None]]:
        """Return what is to be published, parents before what they replaced, and begin anew."""
        waiting, self._waiting = self._waiting, {}
        return list(waiting.items())
