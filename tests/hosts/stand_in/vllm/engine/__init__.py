"""A STAND-IN for vllm.engine."""
