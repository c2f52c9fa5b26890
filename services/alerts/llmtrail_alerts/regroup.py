"""What edited rules make of what is gathered and open: rules have other names, other people are to hear. Pure.

An incident goes on under another name of its rule. Whom the rules name now and who has not heard of an open incident
hears of it once, as if it had begun just now; who has heard hears of its end, whatever the rules say by then.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec

from llmtrail.core import json_decode
from llmtrail_alerts.grouping import (
    BATCH,
    BUCKET,
    Audience,
    Batch,
    Bucket,
    Gathered,
    Grouped,
    Opening,
    Told,
    View,
    bucket_name,
    gathered_with,
    route_of,
    summary_of,
)
from llmtrail_alerts.message import Message
from llmtrail_alerts.model import GroupKey
from llmtrail_alerts.rules import Rules


def regrouped(records: Mapping[str, bytes], names: Mapping[str, str]) -> dict[str, bytes | None]:
    """Return what becomes of the records where rules have other names: all goes on under those."""
    view = View(records)
    for key in records:
        if key.startswith(BUCKET):
            rule, tenant, part = json_decode.decode(key.removeprefix(BUCKET), type=tuple[str, str, str])
            bucket = view.bucket(key.removeprefix(BUCKET))
            if rule in names and bucket is not None:
                view.put_bucket(key.removeprefix(BUCKET), None)
                view.put_bucket(msgspec.json.encode((names[rule], tenant, part)).decode(), _bucket_of(bucket, names))
        elif key.startswith(BATCH):
            incident = key.removeprefix(BATCH)
            batch = view.batch(incident)
            if batch is not None and batch.message.rule in names:
                view.put_batch(incident, msgspec.structs.replace(batch, message=_of_name(batch.message, names)))
    return view.changes()


def _bucket_of(bucket: Bucket, names: Mapping[str, str]) -> Bucket:
    def gathered(one: Gathered) -> Gathered:
        return one if one.worst is None else msgspec.structs.replace(one, worst=_of_name(one.worst, names))

    return msgspec.structs.replace(
        bucket,
        firsts=gathered(bucket.firsts),
        updates=gathered(bucket.updates),
        resolves=gathered(bucket.resolves),
        opening={
            incident: Opening(_of_name(one.message, names), one.channels) for incident, one in bucket.opening.items()
        },
    )


def _of_name(message: Message, names: Mapping[str, str]) -> Message:
    return replace(message, rule=names.get(message.rule, message.rule))


def rerouted(records: Mapping[str, bytes], rules: Rules, is_quiet: Callable[[GroupKey], bool], now_ns: int) -> Grouped:
    """Return what those are to hear whom the rules name now of open incidents, and who has not heard of them."""
    view, found = View(records), dict[tuple[str, tuple[str, ...]], list[Message]]()
    for key in sorted(key for key in records if key.startswith(BATCH)):
        incident = key.removeprefix(BATCH)
        batch = view.batch(incident)
        if batch is None or is_quiet(GroupKey(batch.message.rule, batch.message.scope)):
            continue
        unheard = tuple(name for name in route_of(batch.message, rules) if name not in batch.channels)
        if unheard:
            message = _to(batch, incident, unheard, rules, now_ns)
            view.put_batch(incident, msgspec.structs.replace(batch, channels=[*batch.channels, *unheard]))
            found.setdefault((bucket_name(GroupKey(message.rule, message.scope), message.owner), unheard), []).append(
                message
            )
    told = [one for (name, channels), messages in found.items() for one in _of_all(name, channels, messages)]
    return Grouped(view.changes(), told)


def _to(batch: Batch, incident: str, channels: tuple[str, ...], rules: Rules, now_ns: int) -> Message:
    message = batch.message
    rule = rules.rule(message.rule)
    owner = rules.owner_of(rule, message.scope) if rule else None
    return replace(
        message,
        id=f"{message.id}/to/{'+'.join(channels)}",
        incident=incident,
        owner=owner.name if owner else "",
        at_ns=now_ns,
    )


def _of_all(name: str, channels: tuple[str, ...], messages: list[Message]) -> list[Told]:
    """Return one message for people, however many incidents there are; each is opened where incidents are kept."""
    if len(messages) == 1:
        return [Told(messages[0], channels=channels)]
    gathered = Gathered()
    for message in messages:
        gathered = gathered_with(gathered, message)
    worst = gathered.worst or messages[0]
    people = summary_of(name, Bucket(due_ns=0, gravest=0), gathered, worst)
    return [
        Told(people, Audience.PEOPLE, channels),
        *(Told(message, Audience.INCIDENTS, channels) for message in messages),
    ]
