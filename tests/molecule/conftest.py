"""The engine of the test hosts (tests/hosts)."""

from __future__ import annotations

from tests.hosts.conftest import docker_engine

__all__ = ["docker_engine"]
