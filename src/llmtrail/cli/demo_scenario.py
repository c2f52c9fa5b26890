"""What happens in the demo: which calls, when, and what goes wrong in the middle. Pure: the seed decides all.

Four features of an imaginary shop call three models of a provider, and a fifth one that runs on GPUs of the shop's
own. In the middle the provider of the large model has an outage: errors, rate limits, silence and cut streams. In the
same minute an agent loses its way and asks again and again, until a budget stops it; and on the shop's own node one GPU
gets too hot, which slows its calls, and another falls off the bus, which fails one. After the outage, a new prompt
version is live.
"""

import random
from dataclasses import dataclass
from enum import StrEnum

# The incident takes the middle third; before and after it everything is as usual.
INCIDENT_FROM = 0.36
INCIDENT_TO = 0.68
# The agent goes astray a little after the outage has begun.
ASTRAY_AT = 0.45
# The shop's own node: from half of this on one of its GPUs is too hot, at this one is lost; then a call fails.
GPU_LOST_AT = 0.64
LOST_CALL_AT = 0.65
LOCAL_MODEL = "llama-3.3-70b"
USERS = 48


class Phase(StrEnum):
    """Where in the story a call is made."""

    CALM = "calm"
    INCIDENT = "incident"
    RECOVERED = "recovered"


class Kind(StrEnum):
    """How a feature calls the model."""

    ANSWER = "answer"  # retrieval, then an answer; a smaller model when the large one fails
    TRIAGE = "triage"  # JSON that a parser accepts or rejects; a static message when it cannot
    SUMMARY = "summary"  # streamed to the user as it comes
    REPORT = "report"  # long, without a net: the error goes to the caller
    LOCAL = "local"  # a model on the shop's own GPUs; the error goes to the caller
    AGENT = "agent"  # asks until it is content, which this one never is


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature of the shop."""

    name: str
    kind: Kind
    model: str
    fallback: str
    weight: int
    versions: dict[str, str]
    system: str
    questions: tuple[str, ...]
    output_tokens: tuple[int, int]
    # What the provider does in the incident, as the simulator reads it, and how often.
    incident: tuple[tuple[str, float], ...]
    # The same in calm times: no provider is perfect.
    usual: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One request of the shop: when it comes, whose it is, and the provider's script for it ("" for none)."""

    at_s: float
    index: int
    phase: Phase
    feature: Feature
    user_id: str
    session_id: str
    question: str
    prompt_version: str
    release: str
    script: str
    output_tokens: int


FEATURES = (
    Feature(
        name="support-answer",
        kind=Kind.ANSWER,
        model="gpt-4o",
        fallback="gpt-4o-mini",
        weight=4,
        versions={"prompt_name": "support-answer", "retrieval": "bm25-2", "model_config": "calm-0.2"},
        system="You answer customers of a small shop. Use only the documents given. Be brief and kind.",
        questions=(
            "Where is my order? It was to arrive on Tuesday.",
            "Can I send the blue kettle back after three weeks?",
            "The invoice shows the wrong address, how do I change it?",
            "My parcel came damaged. What do you need from me?",
            "Do you deliver to the islands, and what does it cost?",
        ),
        output_tokens=(40, 160),
        incident=(("500,500,500,500", 0.42), ("429:0.4,200", 0.22), ("500,200", 0.2), ("timeout", 0.08)),
        usual=(("429:0.2,200", 0.02),),
    ),
    Feature(
        name="ticket-triage",
        kind=Kind.TRIAGE,
        model="gpt-4o-mini",
        fallback="",
        weight=3,
        versions={"prompt_name": "ticket-triage", "parser": "triage-4"},
        system='Sort the ticket. Answer with JSON only: {"queue": text, "urgent": true or false, "reason": text}.',
        questions=(
            "Ticket 5120: charged twice for one order, please refund, it is urgent.",
            "Ticket 5121: just wanted to say that the new filters are lovely.",
            "Ticket 5122: the app closes when I open my basket, since this morning.",
            "Ticket 5123: my account shows orders which are not mine.",
        ),
        output_tokens=(20, 60),
        incident=(("broken-json", 0.1), ("429:0.3,429:0.3,200", 0.2), ("429:0.2,429:0.2,429:0.2,429:0.2", 0.15)),
        usual=(("broken-json", 0.06),),
    ),
    Feature(
        name="search-summary",
        kind=Kind.SUMMARY,
        model="gpt-4o-mini",
        fallback="",
        weight=3,
        versions={"prompt_name": "search-summary", "retrieval": "hybrid-1"},
        system="Summarise what the shop has for this search in two sentences.",
        questions=("quiet coffee grinder", "birthday gift for a gardener", "waterproof bag 20 l", "lamp for reading"),
        output_tokens=(30, 90),
        incident=(("cut:4", 0.3), ("slow:0.8", 0.25), ("500,200", 0.1)),
        usual=(("slow:0.3", 0.03),),
    ),
    Feature(
        name="report-writer",
        kind=Kind.REPORT,
        model="gpt-4.1",
        fallback="",
        weight=1,
        versions={"prompt_name": "weekly-report", "model_config": "long-0.7"},
        system="Write the weekly report for the shop's owner from these figures.",
        questions=("Sales +4 %, returns 31, most sold: kettle.", "Sales -2 %, returns 12, most sold: reading lamp."),
        output_tokens=(200, 420),
        incident=(("timeout", 0.3), ("length", 0.2), ("500,500,500,500", 0.3)),
        usual=(("length", 0.1),),
    ),
    Feature(
        name="review-tags",
        kind=Kind.LOCAL,
        model=LOCAL_MODEL,
        fallback="",
        weight=2,
        versions={"prompt_name": "review-tags", "model_config": "vllm-2"},
        system="Name up to five things that this review is about.",
        questions=("Great grinder, but loud, and the box was torn.", "The lamp flickers. Support was kind, though."),
        output_tokens=(20, 50),
        # Held-down clocks make answers late; nothing here fails but the one call below.
        incident=(("slow:0.6", 0.7),),
    ),
)
LOCAL = FEATURES[-1]

# Once in each demo; never chosen by the dice.
AGENT = Feature(
    name="order-agent",
    kind=Kind.AGENT,
    model="gpt-4.1",
    fallback="",
    weight=0,
    versions={"prompt_name": "order-agent", "model_config": "tools-3"},
    system="You are an agent. Use the tools until the order is found.",
    questions=("Find order 7731 and tell the customer when it arrives.",),
    output_tokens=(40, 60),
    incident=(),
)


def plan(seed: int, seconds: float, rate: float) -> list[PlannedCall]:
    """Return the calls of a demo of `seconds` at `rate` calls a second, in the order in which they are made.

    The first call of the incident always fails at every attempt and is saved by the smaller model: worth a look. One
    request after it is the agent's, and one is met by the loss of a GPU.
    """
    dice = random.Random(seed)  # noqa: S311 - a repeatable story, nothing secret.
    calls: list[PlannedCall] = []
    at_s = 0.0
    told = False
    once = [(ASTRAY_AT, _agent), (LOST_CALL_AT, _lost)]
    while True:
        at_s += dice.expovariate(rate)
        if at_s >= seconds:
            return calls
        phase = phase_at(at_s / seconds)
        showpiece = phase is Phase.INCIDENT and not told
        while told and once and at_s / seconds >= once[0][0]:
            calls.append(once.pop(0)[1](at_s, len(calls), phase))
        told = told or showpiece
        calls.append(_call(dice, at_s, len(calls), phase, showpiece=showpiece))


def _agent(at_s: float, index: int, phase: Phase) -> PlannedCall:
    return _once(AGENT, "v3", "", (at_s, index, phase))


def _lost(at_s: float, index: int, phase: Phase) -> PlannedCall:
    return _once(LOCAL, "v12", "500,500,500,500", (at_s, index, phase))


def _once(feature: Feature, prompt_version: str, script: str, when: tuple[float, int, Phase]) -> PlannedCall:
    at_s, index, phase = when
    return PlannedCall(
        at_s=at_s,
        index=index,
        phase=phase,
        feature=feature,
        user_id="user-02",
        session_id=f"session-02-{int(at_s) // 60}",
        question=feature.questions[0],
        prompt_version=prompt_version,
        release="2026.11.1",
        script=script,
        output_tokens=feature.output_tokens[1],
    )


def phase_at(share: float) -> Phase:
    """Return the phase at a share (0 to 1) of the demo's time."""
    if share < INCIDENT_FROM:
        return Phase.CALM
    return Phase.INCIDENT if share < INCIDENT_TO else Phase.RECOVERED


def _call(dice: random.Random, at_s: float, index: int, phase: Phase, *, showpiece: bool) -> PlannedCall:
    feature = dice.choices(FEATURES, [feature.weight for feature in FEATURES])[0]
    user = int(USERS * dice.random() ** 2)
    script = _script(dice, feature.incident if phase is Phase.INCIDENT else feature.usual)
    question, tokens = dice.choice(feature.questions), dice.randint(*feature.output_tokens)
    if showpiece:
        feature, script, question = FEATURES[0], "500,500,500,500", FEATURES[0].questions[0]
    after = phase is Phase.RECOVERED
    return PlannedCall(
        at_s=at_s,
        index=index,
        phase=phase,
        feature=feature,
        user_id=f"user-{user:02d}",
        session_id=f"session-{user:02d}-{int(at_s) // 60}",
        question=question,
        prompt_version="v13" if after else "v12",
        release="2026.11.2" if after else "2026.11.1",
        script=script,
        output_tokens=tokens,
    )


def _script(dice: random.Random, chances: tuple[tuple[str, float], ...]) -> str:
    roll = dice.random()
    for script, chance in chances:
        roll -= chance
        if roll < 0:
            return script
    return ""
