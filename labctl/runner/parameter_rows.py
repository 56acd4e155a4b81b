"""The tutorial's eleven parameters: what each means, what the tutorial says of it, and which are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from labctl.runner.parameters import Found


class Parameter(NamedTuple):
    """One engine argument. ``where``: its place in a VllmConfig ("" none); ``tutorial``: None where it says nothing."""

    name: str
    where: str
    meaning: dict[str, str]
    tutorial: int | float | bool | None = None

    @property
    def flag(self) -> str:
        """As ``vllm serve`` writes it."""
        return f"--{self.name.replace('_', '-')}"


# First release without the argument. Read in the published wheels: vLLM 0.17.1 has swap_space (4), 0.18.0 has not.
REMOVED_IN = {"swap_space": "0.18.0"}

PARAMETERS = (
    Parameter(
        "model",
        "model_config.model",
        {"en": "which model: a hub id or a folder", "zh": "使用哪个模型：模型库中的名称，或本地目录"},
    ),
    Parameter(
        "tensor_parallel_size",
        "parallel_config.tensor_parallel_size",
        {"en": "GPUs that share each layer", "zh": "张量并行数：每一层切分到多少块 GPU 上"},
    ),
    Parameter(
        "pipeline_parallel_size",
        "parallel_config.pipeline_parallel_size",
        {"en": "stages that the layers are divided into", "zh": "流水线并行数：所有层分成多少段，各段放在不同 GPU 上"},
    ),
    Parameter(
        "gpu_memory_utilization",
        "cache_config.gpu_memory_utilization",
        {
            "en": "share of GPU memory for the engine; what weights and activations leave is KV cache",
            "zh": "引擎可使用的显存比例；扣除权重和激活值后，其余都用作 KV 缓存",
        },
        0.9,
    ),
    Parameter(
        "max_model_len",
        "model_config.max_model_len",
        {"en": "longest sequence in tokens, prompt and answer", "zh": "单个序列的最大 token 数（提示词加生成内容）"},
    ),
    Parameter(
        "block_size",
        "cache_config.block_size",
        {"en": "tokens in one block of the KV cache", "zh": "KV 缓存中每个块容纳的 token 数"},
        16,
    ),
    Parameter(
        "swap_space",
        "",
        {
            "en": "GiB of host memory for KV blocks of preempted requests",
            "zh": "用于存放被抢占请求 KV 块的主机内存（GiB）",
        },
        4,
    ),
    Parameter(
        "max_num_batched_tokens",
        "scheduler_config.max_num_batched_tokens",
        {
            "en": "most tokens of one step, over all requests; longer prompts come in chunks",
            "zh": "一次迭代最多处理的 token 数（所有请求合计）；更长的提示词分块处理",
        },
    ),
    Parameter(
        "max_num_seqs",
        "scheduler_config.max_num_seqs",
        {"en": "most requests that run at a time; others wait", "zh": "同时运行的最大请求数，其余请求排队等待"},
        256,
    ),
    Parameter(
        "enable_prefix_caching",
        "cache_config.enable_prefix_caching",
        {
            "en": "whether prompts that begin alike share the KV blocks of their beginning",
            "zh": "开头相同的提示词是否共用这一部分的 KV 块",
        },
        False,  # noqa: FBT003 - a value like the others
    ),
    Parameter(
        "dtype",
        "model_config.dtype",
        {"en": "number format of weights and activations", "zh": "权重和激活值的数据类型"},
    ),
)  # fmt: skip

_MODEL_LEN = {
    "en": "unless set, the longest that the model's config.json allows",
    "zh": "未设定时取模型 config.json 允许的最大长度",
}
_CPU_SHARE = {
    "en": "on a CPU a share of the machine's memory, and without effect here: VLLM_CPU_KVCACHE_SPACE={space} (GiB) "
    "sets the KV cache",
    "zh": "在 CPU 上指内存的比例；这里不起作用，因为 KV 缓存的大小由 VLLM_CPU_KVCACHE_SPACE={space}（GiB）指定",
}
_BLOCK_CPU = {
    "en": "vLLM's CPU platform chooses it; elsewhere the fallback is 16",
    "zh": "由 vLLM 的 CPU 平台选定；其他平台的默认回退值是 16",
}
_BLOCK_GPU = {
    "en": "resolved at run time by the attention backend, fallback 16",
    "zh": "运行时由注意力后端决定，默认回退值为 16",
}
_SCHEDULER = {
    "en": "unless set, vLLM chooses by device, and not always the same for LLM(...) and vllm serve",
    "zh": "未设定时由 vLLM 按设备选择，LLM(...) 与 vllm serve 的取值可能不同",
}
_PREFIX = {"en": "unless set, on wherever the model allows it", "zh": "未设定时，只要模型支持就开启"}
_DTYPE_SET = {
    "en": "auto follows the model's config, but casts float32 to 16 bits; here labctl sets it: {why}",
    "zh": "auto 表示跟随模型配置（float32 会转换为 16 位类型）；"
    "模型是 float16，而这颗 CPU 没有 float16 矩阵指令，所以 labctl 改用 bfloat16",
}
# _resolve_auto_dtype in vllm/config/model.py, 0.32.0.
_DTYPE = {
    "en": "auto follows the model's config, but casts float32 to 16 bits",
    "zh": "auto 表示跟随模型配置（float32 会转换为 16 位类型）",
}
_MODEL = {"en": "vLLM's own default, where none is named", "zh": "默认值是不指定模型时 vLLM 自己使用的模型"}
_REMOVED = {
    "en": "gone since vLLM {since} (read in the published wheels): a preempted request is computed again",
    "zh": "从 vLLM {since} 起已删除（依据已发布的安装包）：被抢占的请求改为重新计算",
}
_UNKNOWN = {"en": "this vLLM does not have it", "zh": "此版本的 vLLM 没有这个参数"}


def note(name: str, found: Found) -> dict[str, str]:
    """What must be said of a parameter of this engine, by language; empty where nothing must."""
    on_cpu = found.device == "cpu"
    by_name = {
        "model": _MODEL,
        "max_model_len": _MODEL_LEN,
        "block_size": _BLOCK_CPU if on_cpu else _BLOCK_GPU,
        "max_num_batched_tokens": _SCHEDULER,
        "max_num_seqs": _SCHEDULER,
        "enable_prefix_caching": _PREFIX,
        "dtype": _DTYPE_SET if "dtype" in found.adjusted else _DTYPE,
    }
    if on_cpu and found.space:
        by_name["gpu_memory_utilization"] = _CPU_SHARE
    return _filled(by_name.get(name, {}), space=found.space, why=found.adjusted.get("dtype", ""))


def gone(name: str) -> dict[str, str]:
    """What must be said of a parameter that the installed vLLM does not have."""
    since = REMOVED_IN.get(name)
    return _filled(_REMOVED, since=since) if since else _UNKNOWN


def _filled(texts: dict[str, str], **values: str) -> dict[str, str]:
    return {language: text.format(**values) for language, text in texts.items()}
