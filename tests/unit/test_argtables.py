"""Tables of vLLM's arguments: the reader, the shipped data, reading of values, and extraction from source."""

from __future__ import annotations

import ast
import json
import re
from importlib import resources

import pytest

from labctl import argtables
from labctl.argtables import generate, wheels
from labctl.argtables.extract import Sources, engine_arguments, sampling_arguments

CONFIG = """
from pydantic import Field
CacheDType = Literal["auto", "fp8"]
RunnerType = Literal["generate", "pooling"]
RunnerOption = Literal["auto", RunnerType]
BLOCK = 1024
@config
class Base:
    seed: int = 7
@config
class ModelConfig(Base):
    model: str = "Qwen/Qwen3-0.6B"
    max_model_len: int = Field(default=None, ge=-1)
    share: float = Field(0.92, gt=0, le=1)
    overrides: dict = field(default_factory=dict)
    ranks: set[int] = field(default_factory=lambda: {2, 1})
    buffer: int = 16 * BLOCK_SIZE ** 2
    block: int = BLOCK
    nested: NestedConfig = Field(default_factory=NestedConfig)
    required: int
"""
ENGINE = """
@dataclass
class EngineArgs:
    model: str = ModelConfig.model
    seed: int = ModelConfig.seed
    max_model_len: int = ModelConfig.max_model_len
    share: float = ModelConfig.share
    overrides: "dict[str, Any] | None" = get_field(ModelConfig, "overrides")
    ranks: set[int] = get_field(ModelConfig, "ranks")
    buffer: int = 4 * 1024 ** 2
    unresolved: int = ModelConfig.buffer
    block: int = ModelConfig.block
    nested: NestedConfig = get_field(ModelConfig, "nested")
    mode: Mode = Mode.FAST
    negative: int = -1
    cache: CacheDType | None = None
    runner: RunnerOption = "auto"
    required: int = ModelConfig.required
    _hidden: int = 0
    def method(self): ...
class LLM:
    def __init__(self, model: str, *, chat_template: Path | str | None = None, share: float = 0, **kw): ...
"""
SAMPLING = """
class SamplingParams(PydanticMsgspecMixin, msgspec.Struct, dict=True):
    n: int = 1
    max_tokens: int | None = 16
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE
    output_text_buffer_length: int = 0
    _eos_token_id: int | None = None
    _all: set[int] = msgspec.field(default_factory=set)
"""
KNOWN: tuple[str, ...] = (
    "0.19.1",
    "0.20.0",
    "0.20.1",
    "0.20.2",
    "0.21.0",
    "0.22.0",
    "0.22.1",
    "0.23.0",
    "0.24.0",
    "0.25.0",
    "0.25.1",
)
KNOWN += ("0.26.0", "0.27.0", "0.27.1", "0.28.0", "0.29.0", "0.30.0", "0.31.0", "0.32.0", "0.33.0")


@pytest.fixture
def sources() -> Sources:
    return Sources([CONFIG, ENGINE, SAMPLING])


# The reader and the shipped tables


def test_versions_ascend_by_release() -> None:
    assert set(KNOWN) <= set(argtables.versions())
    assert argtables.versions()[: len(KNOWN)] == KNOWN


@pytest.mark.parametrize("version", ["0.32.0", "0.32.0+cpu", " v0.32.0\n"])
def test_load_the_exact_version(version: str) -> None:
    table = argtables.load(version)
    assert (table.vllm, table.exact) == ("0.32.0", True)
    assert table.wheel.startswith("vllm-0.32.0-")
    assert len(table.wheel_sha256) == 64


@pytest.mark.parametrize(
    ("version", "nearest"), [("0.22.9", "0.22.1"), ("0.30.0.dev3+g12", "0.30.0"), ("0.25.1rc2", "0.25.1")]
)
def test_load_the_nearest_lower_version(version: str, nearest: str) -> None:
    table = argtables.load(version)
    assert (table.vllm, table.exact) == (nearest, False)


@pytest.mark.parametrize(("version", "message"), [("0.11.2", "the oldest is 0.19.1"), ("nightly", "not a version")])
def test_load_says_why_it_cannot(version: str, message: str) -> None:
    with pytest.raises(LookupError, match=message):
        argtables.load(version)


@pytest.mark.parametrize("version", KNOWN)
def test_every_shipped_table(version: str) -> None:
    table = argtables.load(version)
    assert table.exact
    assert len(table.engine) > 180
    assert len(table.sampling) > 30
    assert "swap_space" not in table.engine  # gone before 0.20.0
    assert table.engine["gpu_memory_utilization"].default == (0.9 if version == "0.19.1" else 0.92)
    assert table.engine["chat_template"].only_llm
    assert table.sampling["max_tokens"].default == 16
    for argument in [*table.engine.values(), *table.sampling.values()]:
        ast.parse(argument.annotation, mode="eval")


def test_facts_of_0_32_0() -> None:
    engine = argtables.load("0.32.0").engine
    # None stands for "decide at start": the effective default is on.
    assert engine["enable_prefix_caching"] == argtables.Argument("bool | None", "bool | None")
    assert engine["max_num_seqs"].default is None
    assert engine["block_size"].default is None
    assert engine["compilation_config"].default_source == "CompilationConfig()"
    assert engine["dtype"].source == "ModelDType"
    assert engine["dtype"].annotation.startswith("Literal['auto', 'half', ")
    assert engine["runner"].annotation == "Literal['auto', Literal['generate', 'pooling', 'draft']]"
    assert "watermarking" in argtables.load("0.32.0").sampling
    assert "watermarking" not in argtables.load("0.20.0").sampling


def test_a_shipped_file_has_one_argument_a_line_in_order() -> None:
    text = (resources.files(argtables) / "data" / "vllm-0.32.0.json").read_text("utf-8")
    content = json.loads(text)
    assert generate.render(content) == text
    assert list(content["engine"]) == sorted(content["engine"])
    assert content["schema"] == argtables.SCHEMA


def test_unknown_names_come_with_what_they_may_have_meant() -> None:
    engine = argtables.load("0.32.0").engine
    names = ["max_model_len", "gpu_memory_utilisation", "max-model-len", "swap_space"]
    misspelt, hyphens, gone = argtables.unknown(names, engine)
    assert misspelt == ("gpu_memory_utilisation", ["gpu_memory_utilization"])
    assert hyphens[1][0] == "max_model_len"
    assert gone == ("swap_space", [])
    assert len(argtables.unknown(["max_nu"], engine)[0][1]) <= 3


# Values


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        ("int", "2048", 2048),
        ("int", " -1 ", -1),
        ("int | None", "none", None),
        ("Optional[int]", "null", None),
        ("float", "0", 0.0),
        ("float", "1e-3", 0.001),
        ("bool", "true", True),
        ("bool", "False", False),
        ("bool | None", "1", True),
        ("int | bool", "1", 1),
        ("str", "none", "none"),
        ("str", "123", "123"),
        ("str", " padded ", " padded "),
        ("str", "{not json", "{not json"),
        ("bool | str | None", "true", True),
        ("bool | str | None", "hf_abc", "hf_abc"),
        ("str | list[str] | None", "END", "END"),
        ("str | list[str] | None", '["a", "b"]', ["a", "b"]),
        ("str | list[str]", "[INST]", "[INST]"),
        ("list[int]", "[1, 2]", [1, 2]),
        ("set[str]", '["a"]', ["a"]),
        ("dict[int, float] | None", '{"5": -100}', {"5": -100}),
        ("CompilationConfig", '{"mode":0}', {"mode": 0}),
        ("Literal['auto', 'fp8']", "fp8", "fp8"),
        ("Literal['auto', Literal['draft']]", "draft", "draft"),
        ("Literal[1, 8, 16]", "16", 16),
        ("Literal['none', 'all'] | None", "none", None),
        ("Union[str, Literal['auto']]", "other", "other"),
        ("AttentionBackendEnum | None", "FLASH_ATTN", "FLASH_ATTN"),
        ("OptimizationLevel", "2", 2),
        ("Annotated[int, Field(ge=0)] | None", "3", 3),
        ("str | type[object] | None", "a.B", "a.B"),
        ("dict[str, Any] | Callable[[C], C]", '{"a": [true, null]}', {"a": [True, None]}),
        ("'broken", "x", "x"),
    ],
)
def test_parse_value(annotation: str, text: str, value: object) -> None:
    parsed = argtables.parse_value(annotation, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("annotation", "text", "message"),
    [
        ("int | None", "abc", "'abc' is not a whole number or none."),
        ("int", "2.5", "'2.5' is not a whole number."),
        ("int", "", "'' is not a whole number."),
        ("int", "none", "'none' is not a whole number."),
        ("bool", "yes", "'yes' is not true or false."),
        ("float", "inf", "'inf' is not a number."),
        ("float", "nan", "'nan' is not a number."),
        ("Literal['auto', 'fp8']", "fp16", "'fp16' is not one of auto, fp8."),
        ("list[int]", "3", 'is not a JSON list such as ["a", "b"].'),
        ("list[int]", '{"a": 1}', "is not a JSON list"),
        ("KernelConfig", "fast", 'is not a JSON object such as {"mode": 0}.'),
        ("KernelConfig", "{'mode': 0}", "not valid JSON"),
        ("dict[str, float]", '{"a": NaN}', "NaN is no JSON value"),
        ("list[int]", "[" * 100_000, "not valid JSON"),
        ("Callable[[C], C]", "f", "is not a value that can be written on a command line."),
        ("int", "x" * 1000, "xxx...' is not a whole number."),
    ],
)
def test_parse_value_refuses_in_a_sentence(annotation: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        argtables.parse_value(annotation, text)
    assert len(str(caught.value)) < 250


def test_check_value_names_the_argument() -> None:
    table = argtables.load("0.32.0")
    assert argtables.check_value("max_model_len", "2048", table.engine) == 2048
    assert argtables.check_value("max_model_len", "none", table.engine) is None  # `int = None` in vLLM
    assert argtables.check_value("enforce_eager", "true", table.engine) is True
    assert argtables.check_value("dtype", "bfloat16", table.engine) == "bfloat16"
    assert argtables.check_value("compilation_config", '{"mode":0}', table.engine) == {"mode": 0}
    with pytest.raises(ValueError, match=r"^max_tokens: 'abc' is not a whole number or none\.$"):
        argtables.check_value("max_tokens", "abc", table.sampling)
    with pytest.raises(ValueError, match=r"^compilation_config: 'none' is not a JSON object"):
        argtables.check_value("compilation_config", "none", table.engine)


# Extraction


def test_engine_arguments(sources: Sources) -> None:
    assert engine_arguments(sources) == {
        "model": {"annotation": "str", "default": "Qwen/Qwen3-0.6B"},
        "seed": {"annotation": "int", "default": 7},
        "max_model_len": {"annotation": "int", "default": None},
        "share": {"annotation": "float", "default": 0.92},
        "overrides": {"annotation": "dict[str, Any] | None", "default": {}},
        "ranks": {"annotation": "set[int]", "default": [1, 2]},
        "buffer": {"annotation": "int", "default": 4_194_304},
        "unresolved": {"annotation": "int", "default_source": "16 * BLOCK_SIZE ** 2"},
        "block": {"annotation": "int", "default": 1024},
        "nested": {"annotation": "NestedConfig", "default_source": "NestedConfig()"},
        "mode": {"annotation": "Mode", "default_source": "Mode.FAST"},
        "negative": {"annotation": "int", "default": -1},
        "cache": {"annotation": "CacheDType | None", "default": None},
        "runner": {"annotation": "RunnerOption", "default": "auto"},
        "required": {"annotation": "int", "default_source": "ModelConfig.required"},
        "chat_template": {"annotation": "Path | str | None", "default": None, "only": "LLM"},
    }


def test_sampling_arguments(sources: Sources) -> None:
    assert sampling_arguments(sources) == {
        "n": {"annotation": "int", "default": 1},
        "max_tokens": {"annotation": "int | None", "default": 16},
        "output_kind": {"annotation": "RequestOutputKind", "default_source": "RequestOutputKind.CUMULATIVE"},
    }


def test_aliases_are_followed(sources: Sources) -> None:
    assert sources.aliases(["RunnerOption | None"]) == {
        "RunnerOption": "Literal['auto', RunnerType]",
        "RunnerType": "Literal['generate', 'pooling']",
    }


def test_a_default_that_points_at_itself_ends() -> None:
    looped = Sources(["class A:\n    x: int = A.x"])
    assert "default_source" in looped.default(ast.parse("A.x", mode="eval").body)


# Finding wheels


def test_links_of_a_mirror_that_only_knows_html() -> None:
    page = '<a href="../../files/vllm-0.32.0-cp38-abi3-manylinux_2_28_x86_64.whl#sha256=ab">x</a><a>none</a>'
    (wheel,) = wheels.links(page, "https://mirror.example/simple/vllm/")
    name = "vllm-0.32.0-cp38-abi3-manylinux_2_28_x86_64.whl"
    assert wheel == wheels.Wheel(name, f"https://mirror.example/files/{name}", "ab")


def test_the_index_of_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    assert wheels.index_url() == "https://mirror.example/simple"


def test_pips_own_default_is_read_from_its_help() -> None:
    said = "-i, --index-url <url>  Base URL of the index (default\n    https://index.example/simple). This should"
    assert wheels.default_index(said) == "https://index.example/simple"
    with pytest.raises(OSError, match="set PIP_INDEX_URL"):
        wheels.default_index("no help")
