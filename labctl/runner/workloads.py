"""What an engine is asked to do: one class a kind, part of the RunSpec. One definition for laptop and host."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

LOOPBACK = "127.0.0.1"
# How a token is chosen. Loads of fixed lengths take no other sampling arguments: those say how many tokens come back.
CHOICE = (
    "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty",
)  # fmt: skip


class SpecError(ValueError):
    """A spec that cannot be run; the message is one readable sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """``warmup`` passes over ``prompts``, then ``repeats`` measured ones, by vLLM's ``LLM`` class.

    ``prefix``, said ``prefix_times`` times over, stands before every prompt: what long prompts begin with in common.
    """

    MODE: ClassVar[str] = "offline"
    kind: str = "prompts"
    prompts: tuple[str, ...] = ()
    prefix: str = ""
    prefix_times: int = 1
    warmup: int = 1
    repeats: int = 3

    def check(self) -> None:
        """Raise SpecError where the workload cannot be run."""
        if not self.prompts:
            raise SpecError("the workload has no prompts: give at least one")
        for number, prompt in enumerate(self.prompts, 1):
            text(f"prompt {number}", prompt)
        whole("workload.warmup", self.warmup, 0)
        whole("workload.repeats", self.repeats, 1)
        whole("workload.prefix_times", self.prefix_times, 1)

    def texts(self) -> list[str]:
        """The whole prompts, as the engine gets them."""
        return [self.prefix * self.prefix_times + prompt for prompt in self.prompts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """``prompt`` at each batch size of ``sizes``: warm-up passes, then measured ones, by vLLM's ``LLM`` class.

    ``tutorial``: first of all, once and on the fresh engine, the loop as the tutorial has it, without a warm-up.
    """

    MODE: ClassVar[str] = "offline"
    kind: str = "batches"
    prompt: str = "Tell me a story"
    sizes: tuple[int, ...] = (1, 4, 8, 16)
    warmup: int = 1
    repeats: int = 3
    tutorial: bool = True

    def check(self) -> None:
        """Raise SpecError where the workload cannot be run."""
        text("workload.prompt", self.prompt)
        if not self.sizes:
            raise SpecError("the workload has no batch sizes: give at least one")
        for size in self.sizes:
            whole("a batch size", size, 1)
        if len(set(self.sizes)) < len(self.sizes):
            raise SpecError("a batch size is named twice")
        whole("workload.warmup", self.warmup, 0)
        whole("workload.repeats", self.repeats, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """API calls to a server, each a table: {"api", "by", "text", "max_tokens", "temperature", "stream", "model"}.

    ``api``: "completion" or "chat"; ``by``: "http" (as curl would) or "openai" (its client). What is not given is not
    sent, but for ``model``: the served one's name.
    """

    MODE: ClassVar[str] = "server"
    kind: str = "requests"
    requests: tuple[dict[str, Any], ...] = ()

    def check(self) -> None:
        """Raise SpecError where the workload cannot be run."""
        if not self.requests:
            raise SpecError("the workload has no requests: give at least one")
        for number, one in enumerate(self.requests, 1):
            _check_request(f"request {number}", one)


_REQUEST = {"api", "by", "text", "max_tokens", "temperature", "stream", "model"}


def _check_request(name: str, one: object) -> None:
    if not isinstance(one, dict) or set(one) - _REQUEST:
        raise SpecError(f"{name} must be a table of {', '.join(sorted(_REQUEST))}")
    for key, known in (("api", ("completion", "chat")), ("by", ("http", "openai"))):
        if one.get(key, known[0]) not in known:
            raise SpecError(f"{name}: {key} must be {' or '.join(known)}, not {one[key]!r}")
    text(f"the text of {name}", one.get("text"))
    text(f"the model of {name}", one.get("model", "the served one"))
    whole(f"max_tokens of {name}", one.get("max_tokens", 16), 1)
    number(f"temperature of {name}", one.get("temperature", 0.0), 0.0)
    if not isinstance(one.get("stream", False), bool):
        raise SpecError(f"{name}: stream must be true or false")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A server that is kept up until it is stopped (``labctl up``)."""

    MODE: ClassVar[str] = "server"
    kind: str = "hold"

    def check(self) -> None:
        """Nothing can be wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeBench:
    """``vllm bench serve`` at each concurrency or each request rate (per second), random tokens in and out.

    A point sends ``requests`` requests, at a concurrency at least ``rounds`` times as many (with fewer, the ramp at
    both ends would weigh most), after ``warmups`` others at the same concurrency; each point ``repeats`` times.
    ``server``: run id or name of a running server on the same host ("": one of its own). ``goodput``: the SLO as
    {"ttft" | "tpot" | "e2el": milliseconds}. ``reset``: how a warm prefix cache is kept out of a point: "cache" (the
    server's cache is emptied, needs its dev mode), "seed" (other random prompts for each point). ``detailed``: whether
    the client keeps each request's times, texts and errors (its ``--save-detailed``).
    """

    MODE: ClassVar[str] = "server"
    SAMPLING: ClassVar[tuple[str, ...]] = CHOICE
    kind: str = "serve_bench"
    concurrencies: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()
    requests: int = 32
    rounds: int = 4
    repeats: int = 1
    input_tokens: int = 512
    output_tokens: int = 128
    warmups: int = 4
    goodput: dict[str, float] = field(default_factory=dict)
    reset: str = "seed"
    server: str = ""
    detailed: bool = True

    def check(self) -> None:
        """Raise SpecError where the workload cannot be run."""
        if bool(self.concurrencies) == bool(self.rates):
            raise SpecError("the workload needs concurrencies or rates, one of both")
        for value in self.concurrencies:
            whole("a concurrency", value, 1)
        for rate in self.rates:
            number("a request rate", rate, 0.001)
        counts = {"requests": 1, "rounds": 1, "repeats": 1, "input_tokens": 1, "output_tokens": 1, "warmups": 0}
        for name, least in counts.items():
            whole(f"workload.{name}", getattr(self, name), least)
        for name, limit in self.goodput.items():
            if name not in {"ttft", "tpot", "e2el"}:
                raise SpecError(f"goodput knows ttft, tpot and e2el (milliseconds), not {name!r}")
            number(f"the goodput limit {name}", limit, 0.001)
        if self.reset not in {"cache", "seed"}:
            raise SpecError(f"workload.reset must be cache or seed, not {self.reset!r}")
        if self.reset == "cache" and self.server:
            raise SpecError("only a server of its own can have its cache emptied: with --server, reset must be seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """``requests`` requests of different lengths that arrive within ``seconds``; then the same in two other ways.

    Lengths are drawn from the ranges (least, greatest) in tokens, arrivals uniformly, all from the spec's seed.
    ``static``: size of the static batches; ``alone``: whether the same load also runs one request after another.
    """

    MODE: ClassVar[str] = "server"
    SAMPLING: ClassVar[tuple[str, ...]] = CHOICE
    kind: str = "arrivals"
    requests: int = 24
    seconds: float = 8.0
    prompt_tokens: tuple[int, int] = (8, 128)
    output_tokens: tuple[int, int] = (16, 128)
    static: int = 8
    alone: bool = True

    def check(self) -> None:
        """Raise SpecError where the workload cannot be run."""
        whole("workload.requests", self.requests, 1)
        whole("workload.static", self.static, 1)
        number("workload.seconds", self.seconds, 0.0)
        for name in ("prompt_tokens", "output_tokens"):
            given = getattr(self, name)
            if len(given) != 2:  # noqa: PLR2004 - least and greatest
                raise SpecError(f"workload.{name} must be two numbers, the least and the greatest")
            for value in given:
                whole(f"workload.{name}", value, 1)
            if given[0] > given[1]:
                raise SpecError(f"workload.{name} has its least above its greatest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """No engine: which value each of the tutorial's parameters has by default and for this model and machine."""

    MODE: ClassVar[str] = "offline"
    SAMPLING: ClassVar[tuple[str, ...]] = ()
    kind: str = "parameters"

    def check(self) -> None:
        """Nothing can be wrong with it."""


Workload = Prompts | Batches | Requests | Hold | ServeBench | Arrivals | Parameters
KINDS: dict[str, type[Workload]] = {
    "prompts": Prompts, "batches": Batches, "requests": Requests, "hold": Hold, "serve_bench": ServeBench,
    "arrivals": Arrivals, "parameters": Parameters,
}  # fmt: skip


def takes_devices(work: Workload) -> bool:
    """Whether it starts an engine, and so holds the GPUs: not what makes a config alone, or asks a running server."""
    return not isinstance(work, Parameters) and not (isinstance(work, ServeBench) and work.server)


def read(data: object) -> Workload:
    """A workload from plain data, checked. Raises SpecError."""
    if not isinstance(data, dict):
        raise SpecError("the spec has no workload")
    kind = data.get("kind", "prompts")
    if not isinstance(kind, str) or kind not in KINDS:
        raise SpecError(f"workload kind {kind!r} is unknown; known: {', '.join(KINDS)}")
    made: Workload = build(KINDS[kind], data, "workload")
    made.check()
    return made


def build(kind: type[Any], data: dict[str, Any], where: str) -> Any:
    """An instance of a spec's dataclass: names known, lists as tuples, the types of the defaults. Raises SpecError."""
    names = {item.name: item for item in fields(kind)}
    unknown = sorted(set(data) - set(names))
    if unknown:
        raise SpecError(f"unknown key in the {where}: {', '.join(unknown)}; known: {', '.join(sorted(names))}")
    given: dict[str, Any] = {}
    for name, value in data.items():
        item = names[name]
        plain = item.default if item.default_factory is MISSING else item.default_factory()
        if isinstance(plain, tuple):
            if not isinstance(value, (list, tuple)):
                raise SpecError(f"{where}.{name} must be a list{' of strings' if name == 'prompts' else ''}")
            given[name] = tuple(value)
            continue
        number_for_float = isinstance(plain, float) and isinstance(value, int) and not isinstance(value, bool)
        if plain is not None and type(value) is not type(plain) and not number_for_float:
            raise SpecError(_wrong(f"{where}.{name}", plain, value))
        given[name] = float(value) if number_for_float else value
    return kind(**given)


def _wrong(name: str, plain: object, value: object) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", dict: "a table"}
    return f"{name} must be {words.get(type(plain), type(plain).__name__)}, not {value!r}"


def text(name: str, value: object) -> None:
    """Raise SpecError unless ``value`` is a text with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise SpecError(f"{name} is empty: every prompt needs some text")


def whole(name: str, value: object, least: int) -> None:
    """Raise SpecError unless ``value`` is a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SpecError(f"{name} must be a whole number of at least {least}, not {value!r}")


def number(name: str, value: object, least: float) -> None:
    """Raise SpecError unless ``value`` is a number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < float("inf"):
        raise SpecError(f"{name} must be a number of at least {least:g}, not {value!r}")
