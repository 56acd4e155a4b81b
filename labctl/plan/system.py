"""What the system lacks, whether it may be installed, the container engine, and the host in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl import drivers
from labctl.plan.facts import get, rows, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labctl.plan.facts import Wishes
    from labctl.plan.gpus import Gpu
    from labctl.plan.pythons import Ground

_GPU_WORDS = {
    "works": "GPU",
    "broken": "GPU whose driver does not answer",
    "bare": "GPU without a driver",
    "unseen": "GPU not handed in",
    "away": "GPU given to virtual machines",
    "none": "no GPU",
}


def rights(facts: Mapping[str, object]) -> dict[str, bool]:
    """Whether root can be had: as root, by sudo for nothing, or by sudo for its password."""
    sudo = text(facts, "user", "sudo")
    uid = get(facts, "user", "uid")
    return {
        "root": sudo == "root" or (uid == 0 and not isinstance(uid, bool)),
        "sudo": sudo == "free",
        "sudo_password": sudo == "password",
    }


def missing(facts: Mapping[str, object], variant: str, ground: Ground, *, bundle: bool) -> list[str]:
    """Needs that the host lacks. A fact that is unknown is no lack."""
    lacks = {
        "libnuma": variant == "cpu" and "libnuma" in facts and not facts["libnuma"],
        "compiler": get(facts, "compiler") is not None and not get(facts, "compiler", "cxx"),
        # A Python that uv or conda brings has its headers with it.
        "headers": ground.row is not None and ground.row.get("headers") is False,
        # uv is installed through a venv of any Python, unless it is there or comes in a bundle.
        "venv": not bundle
        and not text(facts, "lab", "uv")
        and not any(row.get("venv") for row in rows(facts, "pythons")),
    }
    if get(facts, "pythons") is None:
        lacks["venv"] = False
    return [name for name, lack in lacks.items() if lack]


def docker(facts: Mapping[str, object], gpu: Gpu, asked: Wishes, *, root: bool) -> dict[str, str]:
    """Whether a container engine is installed, and why."""
    inside = text(facts, "container")
    version = text(facts, "docker", "version") or "an engine"
    program = text(facts, "docker", "program")
    reasons = [
        (get(facts, "docker", "answers") is True, f"{version} answers already"),
        # Another one would replace what someone runs: it may be slow, forbidden to this user, or podman.
        (program is not None, f"{program} is there and does not answer ({_silence(facts)}): it is left as it is"),
        (asked.container_runtime == "leave", "container_runtime is leave"),
        (not root, "without root or sudo no engine can be installed"),
        (not get(facts, "systemd"), "without systemd nothing would start an engine"),
        (get(facts, "docker", "room") is False, "no engine could run here"),
        (bool(inside) and asked.container_runtime != "install", f"this is a container ({inside}) itself"),
    ]
    for holds, why in reasons:
        if holds:
            return {"action": "leave", "why": why}
    if asked.container_runtime == "install":
        return {"action": "install", "why": "asked for"}
    if gpu.state in {"works", "broken", "bare"}:
        return {
            "action": "install",
            "why": "a GPU host with systemd and root: containers are the other way to run vLLM",
        }
    return {"action": "leave", "why": "nobody asked for one, and there is no GPU to use"}


def _silence(facts: Mapping[str, object]) -> str:
    return text(facts, "docker", "why") or "nothing says why"


def kind(facts: Mapping[str, object], gpu: Gpu, may: Mapping[str, bool]) -> list[str]:
    """The class of the host in words; what is unknown is not said."""
    inside = text(facts, "container")
    known = bool(facts.get("arch") or facts.get("kernel"))
    words: list[Any] = [
        "container" if inside else "machine" if known else "unknown host",
        _GPU_WORDS.get(gpu.state),
        gpu.state == "works" and gpu.driver and f"driver {gpu.driver}",
        get(facts, "systemd") is False and "no systemd",
        get(facts, "docker", "answers") is False
        and ("docker does not answer" if text(facts, "docker", "program") else "no docker"),
        _rights(facts, may),
        _offline(facts),
        _torch(facts),
        _old_python(facts),
    ]
    return [str(word) for word in words if word]


def _rights(facts: Mapping[str, object], may: Mapping[str, bool]) -> str:
    if may["root"]:
        return "root"
    words = {"free": "sudo", "password": "sudo with a password", "none": "no sudo"}
    return words.get(text(facts, "user", "sudo") or "", "")


def _offline(facts: Mapping[str, object]) -> str:
    answers = [get(facts, "network", name, "answers") for name in ("index", "hub")]
    return {(False, False): "air-gapped", (False, True): "no package index", (True, False): "no hub"}.get(
        (answers[0], answers[1]) if all(isinstance(one, bool) for one in answers) else (True, True), ""
    )


def _torch(facts: Mapping[str, object]) -> str:
    held = [torch for row in rows(facts, "pythons") if (torch := text(row, "torch", "version"))]
    return f"PyTorch {held[0].partition('+')[0]}" if held else ""


def _old_python(facts: Mapping[str, object]) -> str:
    found = get(facts, "pythons")
    if not isinstance(found, list):
        return ""
    versions = [version for row in rows(facts, "pythons") if (version := text(row, "version"))]
    numbers = [drivers.number(version) for version in versions]
    if not versions:
        return "no Python"
    newest = max(zip(numbers, versions, strict=True))
    return f"Python {newest[1]}" if newest[0] < (3, 11) else ""
