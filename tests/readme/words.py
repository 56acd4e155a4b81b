"""The words around the figures, in the languages of the READMEs."""

from __future__ import annotations

READMES = {"README.md": "en", "README.zh-CN.md": "zh"}

PHASES = {
    "import": ("import of vLLM", "导入 vLLM"),
    "server_import": ("import of the server", "导入服务器"),
    "config": ("configuration", "配置"),
    "engine_import": ("import in the engine's process", "引擎进程中的导入"),
    "init": ("devices and workers", "设备与 worker"),
    "weights": ("weights", "权重"),
    "compile": ("torch.compile", "torch.compile"),
    "profiling": ("memory profiling", "显存剖析"),
    "kv_cache": ("KV cache", "KV 缓存"),
    "graph_capture": ("CUDA graph capture", "CUDA graph 捕获"),
    "engine_warmup": ("kernel warm-up", "kernel 预热"),
    "ready": ("until it answers", "直到可用"),
}
WEIGHTS = {
    "random": ("random, read from disk", "随机，从磁盘读取"),
    "dummy": ("made in memory, nothing is read from disk", "在内存中生成，不读磁盘"),
}
WORDS = {
    "model": ("model", "模型"),
    "synthetic": ("synthetic (random weights)", "合成模型（随机权重）"),
    "kind": ("{}, {}", "{}，{}"),
    "cold": ("start-up, cold", "启动，冷"),
    "warm": ("start-up, warm", "启动，热"),
    "kept": (" ({} of {} compiled files were there)", "（{} / {} 个编译产物此前已有）"),
    "held": ("clocks held back, of the samples", "时钟受限的采样占比"),
    "batch": ("batch {}", "批大小 {}"),
    "throughput": ("{} tok/s (spread {} %)", "{} tok/s（波动 {} %）"),
    "bandwidth": (", {} % of the bandwidth", "，带宽的 {} %"),
    "kv": ("KV cache", "KV 缓存"),
    "tokens": ("{} tokens", "{} token"),
    "memory": ("peak GPU memory", "GPU 显存峰值"),
    "phase": ("start-up of {}, in seconds", "{}：启动各阶段，单位为秒"),
    "first": ("cold", "冷"),
    "again": ("warm {}", "热 {}"),
    "unkept": ("warm, but for Triton's kernels", "热，但不保留 Triton kernel"),
    "ratio": ("warm / cold", "热 / 冷"),
    "defaults": ("as vLLM sets it", "按 vLLM 默认"),
    "sum": ("sum", "合计"),
}
# Whole sentences, English and Chinese.
SENTENCES = {
    "where": (
        "{gpu}, driver {driver}, vLLM {vllm}, torch {torch}; {date}. ",
        "{gpu}，驱动 {driver}，vLLM {vllm}，torch {torch}；{date}。",
    ),
    "measured": (
        (
            "Throughput: median of {n} repeats after a warm-up; spread: greatest less least, of the median; "
            "bandwidth: what the steps read, of what the memory reached in a copy there ({ceiling} GB/s)."
        ),
        (
            "吞吐量：预热之后 {n} 次测量的中位数；波动：最大值减最小值，占中位数的比例；带宽：各步读取的数据量，"
            "占该机器实测内存复制带宽（{ceiling} GB/s）的比例。"
        ),
    ),
    "conditions": (
        (
            "{model}: prompts of {prompt} tokens, answers of {tokens}, {sampling}; engine {engine}; weights {weights}; "
            "{settings}; {cores} cores of {cpu}."
        ),
        (
            "{model}：提示 {prompt} token，回答 {tokens} token，{sampling}；引擎 {engine}；权重 {weights}；{settings}；"
            "{cores} 核 {cpu}。"
        ),
    ),
    "costs": (
        (
            "What measuring costs ({model}, batch {batch}): throughput with the sampler / without, in one engine, "
            "{sampler} (median of {pairs} pairs, 95 % interval). With vLLM's own sampling arguments labctl's median of "
            "those {passes} passes is {ours} tok/s, one pass of `vllm bench throughput` {theirs} tok/s: {ratio}."
        ),
        (
            "测量本身的代价（{model}，批大小 {batch}）：同一引擎内，有采样 / 无采样的吞吐量之比 {sampler}"
            "（{pairs} 对的中位数，95 % 区间）。采样参数与 vLLM 自己的基准相同时，labctl 这 {passes} 次的中位数为 "
            "{ours} tok/s，`vllm bench throughput` 一次为 {theirs} tok/s，之比 {ratio}。"
        ),
    ),
    "cpu": (
        (
            "Without a GPU ({cpu}, {cores} cores, vLLM {vllm}, torch {torch}; {date}), {model}: {speed}, "
            "cold start-up {startup}."
        ),
        "没有 GPU（{cpu}，{cores} 核，vLLM {vllm}，torch {torch}；{date}），{model}：{speed}，冷启动 {startup}。",
    ),
    "provision": (
        (
            "Provisioning the host of that H100 from a bundle ({date}): {first_s}, {first_changed} changes; "
            "a second time {second_s}, {second_changed} changes."
        ),
        (
            "用 bundle 配置这台 H100 主机（{date}）：{first_s}，{first_changed} 处改变；第二次 {second_s}，"
            "{second_changed} 处改变。"
        ),
    ),
}


def word(name: str, language: str) -> str:
    """What a name is called, or the sentence of it (``en`` or ``zh``); a phase that is not known keeps its name."""
    english, chinese = {**PHASES, **WEIGHTS, **WORDS, **SENTENCES}.get(name, (f"`{name}`", f"`{name}`"))
    return chinese if language == "zh" else english
