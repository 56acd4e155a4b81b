from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import events, spec
from labctl.runner.failures import ServerError
from labctl.runner.serving import is_loopback, served_name, serving

if TYPE_CHECKING:
    from pathlib import Path


def asked(**server: Any) -> spec.RunSpec:
    return spec.from_dict({"lab": "server", "model": "org/m", "workload": {"kind": "hold"}, "server": server})


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_what_is_reached_from_this_host_alone(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.1", "gpu1", "", "127.0.0.1.example.org"])  # noqa: S104
def test_what_others_may_reach(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize(
    ("key", "dev", "reason"),
    [("", False, "needs an API key: `labctl up --expose 10.0.0.1` makes one"), ("k", True, "dev mode is for loopback")],
)
def test_what_is_never_exposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, reason: str, *, dev: bool
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", key)
    with (
        events.Events(tmp_path, 0.0) as told,
        pytest.raises(ServerError, match=reason),
        serving(asked(address="10.0.0.1"), tmp_path, told, dev=dev),
    ):
        pytest.fail("it was started")


@pytest.mark.parametrize(
    ("engine", "name"),
    [({}, "org/m"), ({"served_model_name": "a"}, "a"), ({"served_model_name": ["b", "c"]}, "b")],
)
def test_the_name_that_requests_give(engine: dict[str, Any], name: str) -> None:
    assert served_name(asked(), {"model": "/models/synthetic/m", **engine}) == name
