"""A STAND-IN for vllm.entrypoints.cli."""
