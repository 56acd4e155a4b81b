"""What a bundle holds: all that one host lacks for its plan, so that it can be provisioned without a network."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl import __version__, assets, locks, plan
from labctl.bundle import controller as itself
from labctl.bundle.parts import CHECK, INSTALL, Parts
from labctl.bundle.wheels import Downloads, Target, glibc, missing
from labctl.errors import TransferError, UsageError
from labctl.plan.facts import get
from labctl.runner import rundir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from labctl.locks import Entry

_OWN = (3, 11)  # the oldest Python that labctl runs on
_HIDDEN = re.compile(r"(^|/)\.")
_WHEELS, _CONTROLLER = "wheels", itself.FOLDER


@dataclass(frozen=True)
class Contents:
    """Plan of the host, its Python and its packages; for labctl itself on it: that Python, or None for none."""

    plan: Mapping[str, Any]
    target: Target
    lock: str
    wheels: tuple[Entry, ...]
    python: str | None
    controller: Target | None
    own: tuple[Entry, ...]

    def about(self) -> dict[str, Any]:
        """The head of bundle.json."""
        fits = {name: self.plan[name] for name in ("python", "mode", "vllm", "variant")}
        return {
            "for": {"arch": self.target.arch, "libc": self.target.glibc, **fits},
            "lock_sha256": hashlib.sha256(self.lock.encode()).hexdigest(),
            "labctl": __version__,
            "controller": self.controller.python if self.controller else None,
        }


def contents(facts: Mapping[str, Any], wishes: Mapping[str, Any], *, controller: bool = False) -> Contents:
    """What the bundle for a host holds. Raises plan.Impossible, UsageError."""
    made = plan.make(dict(facts), {**wishes, "lab_bundle": "to be made"})
    if made["mode"] == "conda":
        what = "a bundle holds wheels, no packages of conda, which python_env_mode conda needs"
        raise UsageError(what, "labctl bundle ... -e python_env_mode=uv")
    target = Target(made["python"], "x86_64", glibc(get(facts, "libc", "version")))
    folder = assets.folder("ansible") / "locks"
    lock = locks.filtered((folder / made["lock"]).read_text(encoding="utf-8"), made)
    uv = locks.parse((folder / "uv.txt").read_text(encoding="utf-8"))
    lacks = plan.lacking(facts, made)
    own = Target(_own_python(facts, made["python"]), target.arch, target.glibc) if controller else None
    entries = locks.parse(itself.lock()) if own else []
    return Contents(
        plan=made,
        target=target,
        lock=lock,
        wheels=(*locks.parse(lock), *uv),
        python=lacks["python"],
        controller=own,
        own=tuple(entry for entry in entries if own and locks.holds(entry.marker, own.python)),
    )


def _own_python(facts: Mapping[str, Any], planned: str) -> str:
    """The Python that labctl itself would run on there: the plan's where it is there, else the newest that is."""
    rows = facts.get("pythons") or []
    there = {str(row.get("version")) for row in rows if isinstance(row, dict)}
    able = [version for version in there if re.fullmatch(r"3\.\d+", version) and _pair(version) >= _OWN]
    return planned if planned in able or not able else max(able, key=_pair)


def _pair(version: str) -> tuple[int, int]:
    major, minor = version.split(".")
    return int(major), int(minor)


@contextmanager
def held(folder: Path, part_size: int | None) -> Iterator[tuple[Parts, list[str]]]:
    """The bundle's folder, for this labctl alone, with the names that an earlier run left broken in it.

    Raises UsageError, OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another labctl is making the bundle in {folder}") from None
        parts = Parts(folder, part_size)
        yield parts, parts.load()
    finally:
        os.close(lock)


def lacking(parts: Parts, what: Contents) -> tuple[list[Entry], list[Entry], list[str]]:
    """(wheels for the host that are not in the bundle, those for labctl itself, names of the wheels that are)."""
    names = [name for name in parts.files if name.startswith((f"{_WHEELS}/", f"{_CONTROLLER}/"))]
    wheels, there = missing(what.wheels, what.target, [n for n in names if n.startswith(_WHEELS)], parts.has)
    if what.controller is None:
        return wheels, [], there
    # What the host's environment has too is not brought twice.
    own, more = missing(what.own, what.controller, names, parts.has)
    return wheels, own, [*there, *more]


def fill(parts: Parts, what: Contents, index: str, tell: Callable[[str, int], None]) -> None:
    """Bring every wheel that is not there yet, and drop what is of no use any more.

    ``index`` is asked for a build of PyTorch that pip's own places lack; ``tell(name, bytes)`` hears of each wheel.
    Raises TransferError, OSError.
    """
    wheels, _, _ = lacking(parts, what)
    _place(parts, _WHEELS, Downloads(_scratch(parts, _WHEELS), what.target, index).fetch(wheels), tell)
    if what.controller is not None:
        _, own, _ = lacking(parts, what)
        _place(parts, _CONTROLLER, Downloads(_scratch(parts, _CONTROLLER), what.controller, "").fetch(own), tell)
    _text(parts, "lock.txt", what.lock.encode())
    if what.controller is not None:
        _text(parts, itself.LOCK, itself.lock().encode())
        _file(parts, f"{_CONTROLLER}/{{}}", itself.wheel(parts.incoming))


def _scratch(parts: Parts, name: str) -> Path:
    folder = parts.incoming / name
    folder.mkdir(parents=True)
    return folder


def _place(parts: Parts, folder: str, wheels: Iterable[Path], tell: Callable[[str, int], None]) -> None:
    for wheel in wheels:
        size = wheel.stat().st_size
        parts.add(f"{folder}/{wheel.name}", wheel)
        tell(wheel.name, size)


def _text(parts: Parts, name: str, data: bytes) -> None:
    path = parts.incoming / "text"
    path.write_bytes(data)
    _file(parts, name, path)


def _file(parts: Parts, name: str, path: Path) -> None:
    """Place a file of our own making, unless it is there."""
    name = name.format(path.name)
    if not parts.has(name, {rundir.sha256(path)}):
        parts.add(name, path)


def python(parts: Parts, version: str) -> None:
    """Bring a standalone Python, as uv knows where to find one and checks it. Raises TransferError."""
    name = next((name for name in parts.files if name.startswith(f"python/cpython-{version}.")), None)
    if name is not None:
        return
    cache, scratch = parts.incoming / "python-cache", parts.incoming / "python"
    env = {**os.environ, "UV_PYTHON_CACHE_DIR": str(cache), "UV_NO_PROGRESS": "1"}
    asked = f"cpython-{version}-linux-x86_64-gnu"
    translate = assets.folder("ansible") / "roles" / "python_env" / "files" / "pip_to_uv.py"
    uv = [sys.executable, str(translate), str(Path(sys.executable).with_name("uv"))]
    command = [*uv, "python", "install", "--install-dir", str(scratch), "--no-bin", asked]
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    found = sorted(cache.rglob("*.tar*")) if cache.is_dir() else []
    if done.returncode or len(found) != 1:
        said = " ".join(re.sub("//[^/@]*@", "//", done.stderr).split())[:400]
        what = f"this host has no Python {version}, and uv could not download one for the bundle: {said}"
        raise TransferError(what, "UV_PYTHON_INSTALL_MIRROR=https://a.mirror labctl bundle ...")
    leaf = found[0].name[found[0].name.index("cpython-") :] if "cpython-" in found[0].name else found[0].name
    parts.add(f"python/{leaf}", found[0])


def model(parts: Parts, folder: Path) -> list[str]:
    """Bring a model's folder, hidden files left out; gives the names. Raises UsageError, OSError."""
    folder = folder.expanduser().resolve()
    if not (folder / "config.json").is_file():
        raise UsageError(f"--model {folder}: a model is a folder with a config.json")
    names = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        # A snapshot of the hub's cache holds links: what they lead to is what counts.
        if not path.is_file() or _HIDDEN.search(relative):
            continue
        name = f"models/{folder.name}/{relative}"
        names.append(name)
        if not parts.has(name, {rundir.sha256(path)}):
            copy = parts.incoming / "model-file"
            shutil.copyfile(path, copy)
            parts.add(name, copy)
    return names


def image(parts: Parts, tag: str) -> str:
    """Bring a container image of the engine here; gives its name. Raises UsageError."""
    name = f"images/{re.sub('[^A-Za-z0-9._-]+', '-', tag)}.tar"
    try:
        known = _docker("image", "inspect", "--format", "{{.Id}}", tag).strip()
        if name in parts.files and parts.files[name].source == known:
            return name
        saved = parts.incoming / "image.tar"
        _docker("image", "save", "--output", str(saved), tag)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise UsageError(f"--image {tag}: the Docker engine here gave no such image: {said.strip()[-300:]}") from error
    parts.add(name, saved, source=known)
    return name


def _docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)  # noqa: S607
    return done.stdout


def finish(parts: Parts, what: Contents, more: Iterable[str]) -> list[str]:
    """Drop what nothing asked for, ``more`` aside, and seal the bundle; gives what was dropped. Raises OSError."""
    _, _, wheels = lacking(parts, what)
    kept = {*wheels, *more, "lock.txt"}
    if what.controller is not None:
        kept |= {itself.LOCK, *(name for name in parts.files if name.startswith(f"{_CONTROLLER}/labctl-"))}
    if what.python is not None:
        kept |= {name for name in parts.files if name.startswith(f"python/cpython-{what.python}.")}
    dropped = parts.only(kept)
    check = assets.folder("ansible") / "roles" / "bundle" / "files" / CHECK
    loose = {CHECK: check.read_bytes()}
    if what.controller is not None:
        loose[INSTALL] = itself.script(what.controller.python)
    parts.finish(what.about(), loose)
    return dropped


def defaults() -> dict[str, Any]:
    """Variables as ansible/group_vars/all.yml sets them, for a host that no inventory knows."""
    import yaml

    text = (assets.folder("ansible") / "group_vars" / "all.yml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))
