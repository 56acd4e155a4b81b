"""Get the facts of a host: by the probe over a session, in one exchange and without a file there, or out of a file."""

from __future__ import annotations

import base64
import json
import re
import time
import zlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from labctl.errors import CouldNotCheckError
from labctl.runner import probe

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.inventory import Host
    from labctl.sessions import Session

# The probe ends within 4 s; a slow line and a busy machine may take their time.
_PATIENCE_S = 20.0
_LIMIT = 64 * 1024 * 1024
_NO_PYTHON = 45  # exit status of our own script
_NEW_ENOUGH = "import sys; sys.exit(sys.version_info < (3, 6))"
_UNPACK = "import base64,sys,zlib; exec(zlib.decompress(base64.b64decode(sys.argv.pop())))"
# Where a Python may be: on PATH under any name, RHEL's own, conda's, an image's, the lab's.
_PYTHONS = (
    "python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 python3.7 python3.6 "
    '/usr/bin/python3 /usr/libexec/platform-python /opt/conda/bin/python3 /venv/main/bin/python3 "$1/env/bin/python"'
)
# One that hangs (its folder on a dead mount, say) is passed by; a system without `timeout` has to wait.
_EACH = (
    'soon="timeout -s KILL 2"; $soon true 2>/dev/null || soon=; '
    f'for python in {_PYTHONS}; do $soon "$python" -I -c "{_NEW_ENOUGH}" >/dev/null 2>&1 || continue;'
)
# A name goes into commands to be pasted, and into the name of a folder.
_NAME = re.compile(r"\w[\w.-]*")
# The program is an argument: nothing is written on the host, and a full disk is no obstacle.
_BY_PYTHON = f'{_EACH} exec "$python" -I -c "{_UNPACK}" "$1" - "$2"; done; exit {_NO_PYTHON}'
_BY_SHELL = 'script=$(printf %b "$2"); eval "$script"'
_BY_HAND = """#!/bin/sh
# labctl's look at a machine that cannot be reached: `sh probe.sh > facts.json` there, as the user who will run labs
# (`sh probe.sh LAB_DIR` where the lab is to lie elsewhere than in ~/labctl); then, with that file, here:
# `labctl doctor --facts facts.json`, `labctl bundle --facts facts.json`. It changes nothing and holds no secrets.
[ $# -gt 0 ] || set -- labctl
{each}
exec "$python" -I - "$1" - <<'LABCTL_PROBE'
{python}LABCTL_PROBE
done
{shell}"""


def look(host: Host, session: Session) -> dict[str, Any]:
    """The host's facts, with how far its clock is off this machine's (``clock``). Raises CouldNotCheckError."""
    packed = base64.b64encode(zlib.compress(_source("probe.py").encode(), 9)).decode()
    index = probe.default_index()
    env = {"LABCTL_DEFAULT_INDEX": index} if index else {}
    began = time.time()
    done = session.run(["sh", "-c", _BY_PYTHON, "labctl", host.lab_dir, packed], timeout=_PATIENCE_S, env=env)
    if done.code == _NO_PYTHON:
        words = ["sh", "-c", _BY_SHELL, "labctl", host.lab_dir, _escaped(_source("probe.sh"))]
        began = time.time()
        done = session.run(words, timeout=_PATIENCE_S, env=env)
    ended = time.time()
    try:
        facts = dict(json.loads(done.out))
    except (ValueError, TypeError, RecursionError):
        said = done.err.strip().splitlines()[-1:] or [f"exit status {done.code}"]
        raise CouldNotCheckError(f"the probe could not run on {host.name}: {said[0]}") from None
    return {**facts, "clock": _clock(facts.get("time"), began, ended)}


def _clock(there: object, began: float, ended: float) -> dict[str, float] | None:
    """Seconds that the host's clock is ahead (or, negative, behind), at least; ``within``: what cannot be told."""
    if not isinstance(there, (int, float)) or isinstance(there, bool):
        return None
    # A shell knows whole seconds only.
    off = max(0.0, there - ended) or min(0.0, there + 1.0 - began)
    return {"offset": round(off, 1), "within": round(ended - began, 1)}


def saved(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Names and facts from a saved file: the probe's own, or what ``doctor --json`` printed.

    Raises CouldNotCheckError.
    """
    try:
        with path.open("rb") as handle:
            held = json.loads(handle.read(_LIMIT))
    except OSError as error:
        raise CouldNotCheckError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CouldNotCheckError(f"{path} holds no facts: it is not JSON ({error})") from error
    found = [_saved(one) for one in (held if isinstance(held, list) else [held])]
    if not found or None in found:
        raise CouldNotCheckError(f"{path} holds no facts of the probe", "labctl doctor --probe > probe.sh")
    return [one for one in found if one is not None]


def _saved(held: object) -> tuple[str, dict[str, Any]] | None:
    facts = held["facts"] if isinstance(held, dict) and "facts" in held else held
    if not isinstance(facts, dict) or not isinstance(facts.get("schema"), int):
        return None
    name = held.get("host") if isinstance(held, dict) and facts is not held else facts.get("hostname")
    return name if isinstance(name, str) and _NAME.fullmatch(name) else "HOST", facts


def by_hand() -> str:
    """A script to run on a machine that cannot be reached from here; its output is a file for ``saved``."""
    parts = {"python": _source("probe.py"), "shell": _source("probe.sh").removeprefix("#!/bin/sh\n")}
    return _BY_HAND.format(each=_EACH, **parts)


def _source(name: str) -> str:
    return (resources.files("labctl.runner") / name).read_text(encoding="utf-8")


def _escaped(script: str) -> str:
    """A script on one line, as printf's %b gives it back: csh takes a line break for the end of a quoted word."""
    return script.replace("\\", "\\\\").replace("\n", "\\n")
