"""Headers of a record that anybody may have written. Knows no topic.

Kafka's protocol says that a header's name is a text, and no broker looks: the driver raises SystemError for one that
is none, and whoever does not expect that meets the same record again for ever.
"""

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from confluent_kafka import Message

Said = tuple[tuple[str, bytes | None], ...]


def headers_of(message: "Message") -> Said:
    """Return a record's headers as they were sent; none of them where one has a name that is no text.

    To be asked once a record: the driver then gives what it did not read, a list with a hole in it.
    """
    try:
        return tuple(cast("list[tuple[str, bytes | None]] | None", message.headers()) or ())
    except (SystemError, UnicodeDecodeError):
        return ()
