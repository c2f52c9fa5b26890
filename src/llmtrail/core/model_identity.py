"""Give a model one name, whatever it is asked for or answered by. Pure: the table of known models is an argument.

A name has structure (router, provider, path, profile, release) that `normalized` takes off; the table knows which
family the rest belongs to. The provider is no part of the name: one model is one model wherever it runs.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from llmtrail.core.pattern import is_pattern, matches
from llmtrail.core.provider_names import PROVIDERS, ROUTERS, provider_id

# Names asked for and answered, of all providers; what is beyond is worked out again.
_CACHE_MAX: Final = 50_000
# Vendors' parts of Bedrock model ids: docs.aws.amazon.com/bedrock, "Supported foundation models".
_BEDROCK: Final = re.compile(
    r"^(?:(?:us|eu|apac|jp|au|ca|in|sa|me|af|us-gov|global|regional)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|luma|meta|minimax|mistral|moonshot|moonshotai|nvidia|openai|qwen"
    r"|stability|twelvelabs|writer|xai|zai)\.(?=.)"
)
# A version of a Bedrock id with its context length: "-v1:0", "-20241022-v2:0", "-v1:0:18k"; other "-v2" are models.
_BEDROCK_VERSION: Final = re.compile(r"(?:-v?1|(?<=-\d{8})-v\d)?:\d+(?::\d+k)?$|(?<!claude)(?<!instant)-v1$")
_NAMED_BY_VENDOR: Final = ("deepseek",)
_ARN: Final = re.compile(r"^arn:aws[\w-]*:(?:bedrock|sagemaker)[\w-]*:[^:]*:[^:]*:(?:[\w-]+)/(.+)$")
# Ways in which OpenRouter and Hugging Face route a model: openrouter.ai/docs, "Model variants";
# huggingface.co/docs/inference-providers, "Provider selection". And Vertex AI's mark of what it hosts for others.
_VARIANT: Final = re.compile(
    r"(?::(?:free|nitro|floor|online|thinking|beta|extended|exacto|batch|fastest|cheapest|preferred)|-maas)$"
)
# Databricks writes itself into its models' names: docs.databricks.com, "Supported foundation models".
_HOST: Final = re.compile(r"^(?:databricks-|system\.ai\.)(?=.)")
_PATHS: Final = re.compile(
    r"^(?:models|tunedmodels|publishers/[^/]+/models|projects/[^/]+/locations/[^/]+/publishers/[^/]+/models"
    r"|accounts/[^/]+/models|accounts/[^/]+/routers|deployments|@cf"
    r"|[a-z]{2}(?:-[a-z]+)+-\d)/(?=.)"  # LiteLLM: bedrock/us-west-2/anthropic.claude-...
)
# Claude Code's name of a longer context window: "claude-opus-4-6[1m]".
_WINDOW: Final = re.compile(r"\[\d+[km]\]$")
# Fireworks writes "v3p1" for "v3.1", and "llama-v3" for "llama-3".
_POINT: Final = re.compile(r"(?<=\d)p(?=\d)")
_VERSION: Final = re.compile(r"(?<=-)v(?=\d)")
_ZERO: Final = re.compile(r"(?<=-\d)[-.]0$")  # "claude-opus-4-0" is "claude-opus-4"
# A release by its day, with or without a year or a day, and names that always mean the newest one.
_DATED: Final = re.compile(
    r"[-@](?:20\d{2}-\d{2}-\d{2}|20\d{6}|\d{2}-20\d{2}|(?<=preview-)\d{2}-\d{2}|(?<=exp-)\d{2}-\d{2}|latest|default)$"
)
# A release by year and month, or by month and day; and by a number of three digits. Only the table can tell.
_MONTH: Final = re.compile(r"[-@](?:2[2-9](?:0[1-9]|1[0-2])|(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))$")
_NUMBER: Final = re.compile(r"[-@]0\d\d$")
_OF_NUMBER: Final = re.compile(r"(?<=-0\d\d)-v\d$")  # OpenAI answers "text-embedding-ada-002-v2" for "...-002"
# Vertex AI's "claude-3-5-sonnet-v2@20241022".
_VERTEX_VERSION: Final = re.compile(r"-v\d$")
_PUNCTUATION: Final = re.compile(r"[-._]")
_FINE_TUNE: Final = re.compile(r"^ft:([^:]+)(:.*)?$")


class Named(NamedTuple):
    """A name taken apart: the provider's id (None: unknown), and the name without path, profile and release."""

    provider: str | None
    name: str
    release: str = ""  # what was taken off the end, such as "-2024-08-06"

    @property
    def last(self) -> str:
        """The last part of the name: without the author that model hubs put before it."""
        return self.name.rpartition("/")[2]

    def stems(self) -> tuple[str, ...]:
        """Return what a table may know the model by, the barest first."""
        last = self.last
        found = [_MONTH.sub("", last), last, last + self.release, _NUMBER.sub("", last)]
        if self.release.startswith("@"):
            found.append(_VERTEX_VERSION.sub("", last))
        return tuple(dict.fromkeys(found))

    def spellings(self) -> tuple[str, ...]:
        """Return the stems as rules of the kind `equals` spell them, the barest first."""
        return tuple(map(unpunctuated, self.stems()))


class NameRule(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One name by which a model is asked for, as data that callers without a table understand."""

    kind: str  # equals: `value` is a spelling, without punctuation; prefix; pattern: with * and ?, maybe provider/name
    value: str

    def matches(self, named: Named) -> bool:
        """Whether a name taken apart is this one."""
        if self.kind == "equals":
            return self.value in named.spellings()
        if self.kind == "pattern":
            whole = named.name + named.release
            return matches(self.value, whole) or matches(self.value, f"{named.provider}/{whole}")
        return named.name.startswith(self.value) or named.last.startswith(self.value)


class Identity(NamedTuple):
    """What a call's model is: its one name ("" where none was named), who served it, whether the table knows it."""

    model: str
    provider: str | None
    known: bool


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model of a price list: its id there, and the other names that the list gives it."""

    provider: str
    model: str
    names: tuple[str, ...]
    prefixes: tuple[str, ...] = ()


@lru_cache(_CACHE_MAX)
def normalized(provider: str | None, name: str) -> Named:
    """Take a model's name apart: "us.anthropic.claude-sonnet-4-5-20250929-v1:0" is aws and "claude-sonnet-4-5"."""
    served, rest, release = provider_id(provider), _plain(name), ""
    while True:  # until nothing is left to take off: each pass leaves a shorter name
        inner, named_by = _without_outside(rest, served)
        served = served or named_by
        bare = _plain(inner if _FINE_TUNE.match(inner) else _DATED.sub("", inner)) or inner
        release = inner[len(bare) :] + release if inner.startswith(bare) else release
        if bare == rest:
            break
        rest = bare
    tuned = _FINE_TUNE.match(rest)
    return Named(served, f"ft:{_DATED.sub('', tuned[1])}{tuned[2] or ''}" if tuned else rest, release)


def spellings(name: str) -> tuple[str, ...]:
    """Return a name as it stands, then with one layer after another taken off: price lists know some of them."""
    rest = _plain(name)
    found = {name.strip(): None, rest: None}
    while True:
        inner, _ = _one_layer(rest)
        if inner == rest:
            break
        rest = inner
        found[rest] = None
    named = normalized(None, name)
    return tuple(dict.fromkeys((*found, named.name + named.release, named.name)))


def _plain(name: str) -> str:
    return "-".join(name.lower().split()).strip("/")


def _one_layer(name: str) -> tuple[str, str | None]:
    """Return a name without its outermost ARN, router, provider, path, variant or window, and who that names."""
    found = _ARN.match(name)
    if found:
        return found[1], "aws"
    inner = _WINDOW.sub("", _VARIANT.sub("", _HOST.sub("", _PATHS.sub("", name)))).strip().strip("/") or name
    if inner != name:
        return inner, None
    routed, colon, host = name.rpartition(":")
    if colon and "/" in routed and host in PROVIDERS:  # Hugging Face: "deepseek-ai/DeepSeek-R1:together"
        return routed, PROVIDERS[host]
    head, slash, tail = name.partition("/")
    if slash and tail and head in ROUTERS:
        return tail, None
    return (tail, PROVIDERS[head]) if slash and tail and head in PROVIDERS else (name, None)


def _without_outside(name: str, served: str | None) -> tuple[str, str | None]:
    """Return a name without the layers around it and without Bedrock's profile, vendor and version."""
    rest, named_by, was_arn = name, None, _ARN.match(name) is not None
    while (layer := _one_layer(rest))[0] != rest:
        rest, named_by = layer[0], layer[1] or named_by
        was_arn = was_arn or _ARN.match(rest) is not None
    if _BEDROCK.match(rest):
        # Bedrock's own form: on no other provider does a vendor stand before a dot.
        named_by, rest = named_by or "aws", _BEDROCK.sub(_kept_vendor, rest)
    if was_arn or "aws" in {served, named_by}:
        rest = _BEDROCK_VERSION.sub("", rest)
    return rest, named_by


def _kept_vendor(match: re.Match[str]) -> str:
    """Return what stays of Bedrock's vendor: names that are versions alone need it, "deepseek.v3.2"."""
    return next((f"{vendor}-" for vendor in _NAMED_BY_VENDOR if match[0].endswith(f"{vendor}.")), "")


class ModelTable:
    """Knows which names mean one model. Safe to ask from several threads; only its memory changes."""

    __slots__ = ("_aliases", "_families", "_found", "_known", "_names", "_prefixes")

    def __init__(self, rows: Iterable[ModelRow] = (), aliases: Mapping[str, str] | None = None) -> None:
        """Take known models, those of their own vendors first, and one's own names (deployments) -> model."""
        listed = tuple(rows)
        self._families = _families(listed)
        self._prefixes = tuple(sorted({prefix for row in listed for prefix in row.prefixes}))
        self._aliases: dict[str, str] = {}
        self._aliases = {_alias_key(name): self._named(None, model).model for name, model in (aliases or {}).items()}
        self._found: dict[tuple[str | None, str | None, str | None], Identity] = {}
        names: dict[str, set[str]] = {}
        for name, family in (
            *self._families.items(),
            *((unpunctuated(_bare(name)), model) for name, model in self._aliases.items() if not is_pattern(name)),
        ):
            names.setdefault(family, set()).add(name)
        self._names = {family: tuple(sorted(stems)) for family, stems in names.items()}
        self._known = tuple(sorted(self._names))

    def resolve(self, provider: str | None, asked: str | None, answered: str | None) -> Identity:
        """Return what a call's model is: by the name that answered where it is known, else by the one asked for."""
        key = (provider, asked, answered)
        found = self._found.get(key)
        if found is None:
            found = self._resolve(provider, asked, answered)
            if len(self._found) >= _CACHE_MAX:
                self._found = {}
            self._found[key] = found
        return found

    def known(self) -> tuple[str, ...]:
        """Return the names of all known models, sorted."""
        return self._known

    def names_of(self, model: str) -> tuple[NameRule, ...]:
        """Return the other names of a model, for callers that have no table; releases by day need no rule."""
        equals = [NameRule("equals", name) for name in self._names.get(model, ())]
        patterns = [alias for alias, means in self._aliases.items() if means == model and is_pattern(alias)]
        return (*equals, *(NameRule("pattern", alias) for alias in patterns))

    def alias(self, provider: str | None, name: str) -> str | None:
        """Return the model that one's own name means, as the settings say; None where they say nothing of it."""
        plain = _plain(name)
        served = f"{provider_id(provider)}/{plain}"
        for key in (served, plain):
            if key in self._aliases:
                return self._aliases[key]
        for key, model in self._aliases.items():
            if is_pattern(key) and (matches(key, served) or matches(key, plain)):
                return model
        return None

    def _resolve(self, provider: str | None, asked: str | None, answered: str | None) -> Identity:
        if not asked or not answered:
            name = asked or answered
            return self._named(provider, name) if name else Identity("", provider_id(provider), known=False)
        by_answer, by_request = self._named(provider, answered), self._named(provider, asked)
        # What failed bears only the name that was asked for: where neither is known, that one is the model's.
        return by_answer if by_answer.known else by_request

    def _named(self, provider: str | None, name: str) -> Identity:
        alias = self.alias(provider, name)
        if alias is not None:
            return Identity(alias, provider_id(provider), known=True)
        named = normalized(provider, name)
        tuned = _FINE_TUNE.match(named.name)
        if tuned:
            base = self._named(provider, tuned[1])
            return Identity(f"ft:{base.model}{tuned[2] or ''}", named.provider, base.known)
        for stem in named.stems():
            family = self._families.get(unpunctuated(stem))
            if family is not None:
                return Identity(family, named.provider, known=True)
        if named.last.startswith(self._prefixes):
            return Identity(named.last, named.provider, known=True)
        return Identity(named.name, named.provider, known=False)


def _families(rows: Iterable[ModelRow]) -> dict[str, str]:
    """Return the family of every known stem, by its spelling; what an earlier row says holds."""
    listed = [
        (row.provider, _bare(row.model, row.provider), [_bare(name, row.provider) for name in row.names])
        for row in rows
    ]
    families: dict[str, str] = {}
    vendors: dict[str, str] = {}
    for provider, own, names in listed:
        if _FINE_TUNE.match(own):
            continue  # it is known by its base
        family = _MONTH.sub("", own)
        shorter = unpunctuated(_NUMBER.sub("", own))
        if vendors.get(shorter, provider) != provider:
            # Another seller's "-001" of a model that its vendor lists without a number.
            family = families[shorter]
        family = families.get(unpunctuated(family), family)
        for stem in dict.fromkeys((own, *(name for name in names if not _FINE_TUNE.match(name)))):
            vendors.setdefault(unpunctuated(stem), provider)
            families.setdefault(unpunctuated(stem), _own_family(stem, family))
    # A release that is listed makes its family known: the name that means the newest one.
    for family in tuple(families.values()):
        families.setdefault(unpunctuated(family), family)
    return {stem: _bare(families[unpunctuated(family)]) for stem, family in families.items()}


def _alias_key(alias: str) -> str:
    """Return an alias in small letters; `azure/prod-chat` is that provider's deployment, by whichever of its names."""
    plain = _plain(alias)
    provider, slash, name = plain.partition("/")
    return f"{PROVIDERS[provider]}/{name}" if slash and name and provider in PROVIDERS else plain


def _bare(name: str, provider: str | None = None) -> str:
    return _POINT.sub(".", normalized(provider, name.rstrip("-")).last)


def unpunctuated(stem: str) -> str:
    """Return what sellers agree on in a name: they write "4-5", "4.5" and "4_5", "llama3" and "llama-3"."""
    return _PUNCTUATION.sub("", _VERSION.sub("", _POINT.sub(".", _ZERO.sub("", stem))))


def _own_family(stem: str, family: str) -> str:
    """Return the family of one name of a model: longer names are models of their own, at the same price."""
    bare = _MONTH.sub("", stem)
    same = {family, f"{family}-preview", f"{family}-beta"}
    releases = {bare, _NUMBER.sub("", bare), _OF_NUMBER.sub("", bare)}
    return family if not bare.startswith((f"{family}-", f"{family}.")) or releases & same else bare
