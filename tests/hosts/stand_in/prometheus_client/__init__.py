"""A STAND-IN for prometheus_client: the one gauge of vLLM that labctl's runner reads."""

_INFO = """\
# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig (stand-in)
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="128",cache_dtype="auto",enable_prefix_caching="True",num_gpu_blocks="455"} 1.0
"""


def generate_latest() -> bytes:
    """The text of /metrics."""
    return _INFO.encode()
