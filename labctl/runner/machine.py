"""What the run's machine is, before and after; and the environment that the engine gets."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from labctl.runner import engine_args, probe, processes, rundir
from labctl.runner.redact import MASK, Redactor, secret_name, unnamed

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner.spec import RunSpec


# A Unix socket's path has at most 107 bytes (unix(7)); what engines append to their folder takes up to 50.
_LONGEST_TMP = 50


def environment(run_dir: Path, lab_dir: Path, asked: RunSpec) -> dict[str, str]:
    """The worker's environment: the host's, caches in the lab directory, its card's, then what the spec asks for."""
    cache = lab_dir / "cache"
    # Sockets and PyTorch's precompiled headers go where TMPDIR says: kept in the lab, they are removed with it.
    scratch = {"TMPDIR": str(lab_dir / "tmp")} if len(str(lab_dir / "tmp")) <= _LONGEST_TMP else {}
    defaults = {
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "HF_HOME": os.environ.get("HF_HOME") or str(lab_dir / "models" / "hf"),
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
        **scratch,
    }
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    # What this lab's packages need (one was left out) comes before what the spec asks for.
    return {**inherited, **defaults, **_of_card(lab_dir, "environment"), **asked.env, processes.MARK: str(run_dir)}


def _of_card(lab_dir: Path, name: str) -> dict[str, str]:
    """A table of lab.json, as the role lab_runner wrote it; empty where it has none."""
    found = engine_args.lab_facts(lab_dir).get(name)
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def before(run_dir: Path, lab_dir: Path, asked: RunSpec) -> dict[str, Any]:
    """Write machine/ and return the record's node. An unknown fact is None and never costs the run."""
    folder = run_dir / "machine"
    folder.mkdir(exist_ok=True)
    facts = probe.facts(str(lab_dir), light=True)
    # Settings that change what an engine does; secrets by name and by pattern stay out.
    wanted = ("VLLM_", "HF_", "CUDA_", "NVIDIA_", "OMP_", "TORCH", "TRITON", "NCCL_", "LD_PRELOAD")
    settings = {k: v for k, v in environment(run_dir, lab_dir, asked).items() if k.startswith(wanted)}
    redact = Redactor(os.environ)
    shown = {name: MASK if secret_name(name) else unnamed(redact(value)) for name, value in sorted(settings.items())}
    facts["environment"] = shown
    if left_out := _of_card(lab_dir, "without"):
        facts["left_out"] = left_out
    (run_dir / rundir.SYSTEM).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    packages = installed()
    text = "".join(f"{name}=={version}\n" for name, version in packages.items())
    (run_dir / rundir.PACKAGES).write_text(text, encoding="utf-8")
    nvidia_smi(run_dir, "before")
    _write(folder / "nvidia-smi-q.txt", ["nvidia-smi", "-q"])
    return {"name": facts.get("hostname"), "machine": facts, "packages": packages, "samples": {}}


def after(run_dir: Path) -> None:
    """What nvidia-smi says once the engine is gone."""
    nvidia_smi(run_dir, "after")


def clear_sockets(folder: Path) -> None:
    """Remove the sockets that vLLM leaves behind (three or more a run), and ours with their folder of their own.

    No other run is going on.
    """
    for path in [*folder.glob("*"), *folder.glob("labctl-*/*")]:
        with contextlib.suppress(OSError):
            if path.is_socket():
                path.unlink()
                if path.parent != folder:
                    path.parent.rmdir()


def nvidia_smi(run_dir: Path, moment: str) -> None:
    """Keep the plain text of nvidia-smi, where there is one, as machine/nvidia-smi.MOMENT.txt."""
    _write(run_dir / "machine" / f"nvidia-smi.{moment}.txt", ["nvidia-smi"])


def installed() -> dict[str, str]:
    """{distribution: version} of this environment, from its metadata (never pip freeze: URLs carry tokens)."""
    found = {}
    for item in importlib.metadata.distributions():
        name = item.metadata["Name"]
        if name:
            found[name] = item.version
    return dict(sorted(found.items(), key=lambda pair: pair[0].lower()))


def _write(path: Path, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        return
    try:
        out = subprocess.run(command, capture_output=True, timeout=20, check=False).stdout
        path.write_text(unnamed(Redactor(os.environ)(out.decode(errors="replace"))), encoding="utf-8")
    except (OSError, subprocess.SubprocessError):
        # Evidence, not a condition: a driver that hangs must not end the run.
        return
