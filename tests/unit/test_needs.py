from __future__ import annotations

from typing import Any

import pytest

from labctl import needs
from labctl.errors import UsageError


def lab(**given: Any) -> dict[str, Any]:
    return {"lab": "mine", "needs": given}


def test_a_lab_without_needs_fits_everything() -> None:
    needs.of_version({"lab": "mine"}, "0.32.0")
    needs.of_host({"lab": "mine"}, "gpu1", "cpu", 0)


@pytest.mark.parametrize(
    ("given", "variant", "gpus", "said"),
    [
        ({"gpus": 2}, "cpu", 0, "the lab mine needs 2 GPUs, and gpu1 has no GPUs"),
        ({"gpus": 2, "why": "so it is"}, "cuda", 1, "needs 2 GPUs, and gpu1 has 1 GPU: so it is"),
        ({"variant": "cuda"}, "cpu", 0, "needs vLLM's cuda variant, and gpu1 has cpu"),
    ],
)
def test_what_a_host_has_not_got(given: dict[str, Any], variant: str, gpus: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        needs.of_host(lab(**given), "gpu1", variant, gpus)


def test_a_host_that_has_it_or_does_not_say() -> None:
    needs.of_host(lab(gpus=2, variant="cuda"), "gpu1", "cuda", 2)
    needs.of_host(lab(gpus=2, variant="cuda"), "gpu1", None, None)


def test_a_lab_for_older_releases() -> None:
    needs.of_version(lab(vllm_below="0.18.0"), "0.17.1")
    with pytest.raises(UsageError, match=r"needs vLLM below 0\.18\.0, and this is 0\.18\.0: gone"):
        needs.of_version(lab(vllm_below="0.18.0", why="gone"), "0.18.0")
    with pytest.raises(UsageError, match=r"needs vLLM below"):
        needs.of_version(lab(vllm_below="0.18.0"), "0.32.0+cpu")
    with pytest.raises(UsageError, match="mine needs vLLM below"):
        needs.of_version(lab(vllm_below="0.18.0"), "no version")


@pytest.mark.parametrize("given", [{"gpu": 2}, {"gpus": "2"}, {"gpus": True}, {"vllm_below": 1}])
def test_broken_needs(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="needs"):
        needs.read(lab(**given))


@pytest.mark.parametrize(("least", "hosts", "each"), [(2, 1, 2), (2, 2, 1), (3, 2, 2), (1, 4, 1)])
def test_hosts_that_run_a_lab_together_share_its_needs(least: int, hosts: int, each: int) -> None:
    part = needs.shared(lab(gpus=least, variant="cuda"), hosts)
    needs.of_host(part, "gpu1", "cuda", each)
    with pytest.raises(UsageError, match=f"needs {each} GPU"):
        needs.of_host(part, "gpu1", "cuda", each - 1)
    with pytest.raises(UsageError, match="needs vLLM's cuda variant"):
        needs.of_host(part, "gpu1", "cpu", each)


def test_a_lab_that_needs_nothing_needs_nothing_of_many() -> None:
    assert needs.shared({"lab": "mine"}, 2) == {"lab": "mine"}
