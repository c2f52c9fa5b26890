"""What two versions of the rules differ in, as entries of the audit. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Final

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.audit import AuditAction, AuditRow
from llmtrail_alerts.rules import ALARMS_FILE, BUDGETS_FILE, OWNERS_FILE, Rules

_ID_BYTES: Final = 16
_DETAIL_CHARS_MAX: Final = 4_000  # of why a change was refused: the first dozen problems

# Everything that rules say, piece by piece: (kind, name) -> JSON. What is stored to tell the next change from.
Snapshot = Mapping[tuple[str, str], str]


def snapshot(rules: Rules) -> dict[tuple[str, str], str]:
    """Return the rules piece by piece. Secrets are references in it, as they are in the files."""
    pieces: dict[tuple[str, str], object] = {("budget", budget.name): budget for budget in rules.budgets}
    pieces |= {("alarm", alarm.name): alarm for alarm in rules.alarms}
    pieces |= {("owner", name): owner for name, owner in rules.owners.items()}
    pieces |= {("feature", name): replace(feature, policy=None) for name, feature in rules.features.items()}
    pieces |= {("policy", name): policy for name, policy in rules.policies.items()}
    pieces |= {("channel", name): channel for name, channel in rules.channels.items()}
    pieces |= {("silence", silence.name): silence for silence in rules.silences}
    pieces |= {("maintenance", window.name): window for window in rules.maintenance}
    pieces |= {("gpu owner", pattern): owner for pattern, owner in rules.gpu_owners.items()}
    if rules.fallback_owner:
        pieces["setting", "fallback_owner"] = rules.fallback_owner
    return {key: msgspec.json.encode(piece, order="sorted").decode() for key, piece in pieces.items()}


def encode_snapshot(pieces: Snapshot) -> bytes:
    """Return a snapshot as JSON."""
    return msgspec.json.encode([(kind, name, text) for (kind, name), text in sorted(pieces.items())])


def decode_snapshot(value: bytes) -> dict[tuple[str, str], str]:
    """Return the snapshot of its JSON; raises msgspec.DecodeError."""
    found = json_decode.decode(value, type=list[tuple[str, str, str]])
    return {(kind, name): text for kind, name, text in found}


def changes(before: Snapshot, after: Snapshot, actors: Mapping[str, str], at_ns: int) -> list[AuditRow]:
    """Return what was added, changed and removed between two versions. `actors` says who wrote each file."""
    rows = []
    for kind, name in sorted({*before, *after}):
        former, later = before.get((kind, name), ""), after.get((kind, name), "")
        if former == later:
            continue
        action = AuditAction.CHANGED if former and later else AuditAction.ADDED if later else AuditAction.REMOVED
        rows.append(
            AuditRow(
                # The same step between the same two texts is one entry, also when it is told again after a crash.
                audit_id=_digest(kind, name, former, later),
                changed_at_ns=at_ns,
                actor=actors.get(file_of(kind), ""),
                action=action,
                kind=kind,
                name=name,
                before=former,
                after=later,
            )
        )
    return rows


def renames(before: Snapshot, after: Snapshot) -> dict[str, str]:
    """Return which rules have another name now: those gone that are there in all but their name, once on each side."""
    gone, come = _nameless(before, after), _nameless(after, before)
    return {
        names[0]: come[piece][0] for piece, names in gone.items() if len(names) == 1 and len(come.get(piece, ())) == 1
    }


def _nameless(pieces: Snapshot, others: Snapshot) -> dict[tuple[str, bytes], list[str]]:
    found: dict[tuple[str, bytes], list[str]] = {}
    for (kind, name), text in pieces.items():
        if kind in {"budget", "alarm"} and (kind, name) not in others:
            piece = json_decode.decode(text, type=dict[str, object])
            found.setdefault((kind, msgspec.json.encode(piece | {"name": ""}, order="sorted")), []).append(name)
    return found


def refusal(problems: str, digest: str, actor: str, at_ns: int) -> AuditRow:
    """Return the entry of files that could not be used; `digest` names their texts."""
    return AuditRow(
        audit_id=_digest("refused", digest),
        changed_at_ns=at_ns,
        actor=actor,
        action=AuditAction.REFUSED,  # new files that cannot be used: the former rules stay
        kind="files",
        name=digest,
        detail=problems[:_DETAIL_CHARS_MAX],
    )


def file_of(kind: str) -> str:
    """Return the file in which pieces of a kind stand."""
    return {"budget": BUDGETS_FILE, "alarm": ALARMS_FILE}.get(kind, OWNERS_FILE)


def _digest(*parts: str) -> str:
    return blake2b(msgspec.json.encode(parts), digest_size=_ID_BYTES).hexdigest()
