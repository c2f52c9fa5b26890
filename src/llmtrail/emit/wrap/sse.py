"""Split server-sent events from raw bytes, as far as they came. Pure."""


def events_of(raw: bytes) -> list[tuple[str | None, str]]:
    """Return (event name, data) of each complete event in `raw`, in order; an unfinished last one is left out."""
    text = raw.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    events: list[tuple[str | None, str]] = []
    for block in text.split("\n\n")[:-1]:
        name: str | None = None
        data: list[str] = []
        for line in block.split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                name = value
        if data:
            events.append((name, "\n".join(data)))
    return events
