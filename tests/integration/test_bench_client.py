"""The benchmark's client where it is not: this environment has no vLLM."""

from __future__ import annotations

import pytest

from labctl.runner import bench_client
from labctl.runner.failures import ClientError


def test_an_environment_without_the_client_says_what_it_lacks() -> None:
    with pytest.raises(ClientError, match=r"^vllm bench serve cannot start in this environment: it lacks vllm \("):
        bench_client.flags()
