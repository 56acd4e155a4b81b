"""A kept server as a unit of systemd, where one runs and may be used: so it outlives the login that started it.

logind may end all that a user started when he leaves (KillUserProcesses in logind.conf(5)); a unit is not of the login.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from labctl.runner import rundir

# What the unit's supervisor says here, and the starter waits for: "started", or what went wrong.
SAID = ".starting"
_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
_LINGER = Path("/var/lib/systemd/linger")
_START_S = 30.0
_STOP_S = 20.0  # with the above below the 60 s that the laptop waits for a start
# `mixed`: systemctl stop tells the supervisor alone, which ends the rest and seals; what is left after that is killed.
# An engine that the kernel kills for memory is the supervisor's business (it restarts it), not the end of the unit.
_PROPERTIES = (
    *("Type=exec", "KillMode=mixed", "TimeoutStopSec=90"),
    *("OOMPolicy=continue", "TasksMax=infinity"),
)


class UnavailableError(Exception):
    """systemd cannot have the run; the message says why."""


def wanted(run_dir: Path) -> str | None:
    """The unit's name for a kept server; None for any other run (and for a spec that cannot be read)."""
    try:
        asked = json.loads((run_dir / rundir.SPEC).read_text(encoding="utf-8"))
        if asked["workload"]["kind"] != "hold":
            return None
        name = str((asked.get("server") or {}).get("name") or asked["lab"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return f"labctl-server-{re.sub('[^A-Za-z0-9_-]', '-', name)}.service"


def start(run_dir: Path, name: str) -> str:
    """Start the run's supervisor as a unit. Returns "started" or what went wrong there; raises UnavailableError."""
    command, extra = _how()
    said, saved = run_dir / SAID, environment_file(run_dir)
    said.unlink(missing_ok=True)
    _save(saved)
    properties = [f"--property={one}" for one in (*_PROPERTIES, f"WorkingDirectory={Path.cwd()}")]
    unit = [f"--unit={name}", "--collect", "--quiet", "--no-ask-password", f"--description=labctl run {run_dir.name}"]
    program = [sys.executable, "-I", "-m", "labctl.runner", str(run_dir), "--unit", name]
    try:
        done = subprocess.run(
            [*command, *unit, *properties, "--", *program],
            env={**os.environ, **extra},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_START_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        saved.unlink(missing_ok=True)
        raise UnavailableError(f"systemd-run failed: {error}") from error
    if done.returncode:
        saved.unlink(missing_ok=True)
        raise UnavailableError(f"systemd-run refused it: {done.stderr.strip()[-500:] or done.returncode}")
    told = _wait(said)
    if told is None:
        _stop(name, command, extra)
        for left in (said, saved):
            left.unlink(missing_ok=True)
        return f"the unit's supervisor said nothing in {_START_S:.0f} s and was stopped; see journalctl"
    return told


def _stop(name: str, command: list[str], extra: dict[str, str]) -> None:
    """End a unit that its starter has given up: by systemctl, with what made systemd-run speak to its manager."""
    words = [str(Path(command[0]).with_name("systemctl")), *command[1:], "--no-ask-password", "stop", name]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            words,
            env={**os.environ, **extra},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_STOP_S,
            check=False,
        )


def _how() -> tuple[list[str], dict[str, str]]:
    """systemd-run for root, or for a user whose manager stays when he logs out. Raises UnavailableError."""
    program = shutil.which("systemd-run")
    if not _SYSTEMD.is_dir() or program is None:
        raise UnavailableError("no systemd runs here")
    if os.geteuid() == 0:
        return [program], {}
    user = pwd.getpwuid(os.geteuid()).pw_name
    place = Path(f"/run/user/{os.geteuid()}")
    if not (_LINGER / user).exists() or not place.is_dir():
        raise UnavailableError(f"systemd keeps nothing of {user} after the login (loginctl enable-linger {user})")
    return [program, "--user"], {"XDG_RUNTIME_DIR": str(place)}


def _wait(said: Path) -> str | None:
    """What the unit's supervisor says; None where it says nothing in time."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if said.is_file() and (text := said.read_text(encoding="utf-8")):
            said.unlink()
            return text
        time.sleep(0.02)
    return None


def environment_file(run_dir: Path) -> Path:
    """Where the starter's environment waits for the unit: a unit's own is for everyone to read, and has no settings."""
    return run_dir.parent.parent / "secrets" / f"{run_dir.name}.env.json"


def _save(path: Path) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
        json.dump(dict(os.environ), handle)


def take_environment(run_dir: Path) -> None:
    """Make the starter's environment this process's own, and delete its file."""
    path = environment_file(run_dir)
    saved = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    os.environ.clear()
    os.environ.update(saved)
