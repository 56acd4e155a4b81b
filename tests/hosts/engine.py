"""The Docker engine of the test hosts: one that answers, else Debian's, installed and started for this session."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.runner import processes

if TYPE_CHECKING:
    from collections.abc import Iterator

# Logs and caches of the test hosts; `make clean-all` removes them.
STATE = Path(__file__).parents[2] / ".labctl" / "hosts"
# Every container, network and process of a test session carries who owns it: "PID:START_TICKS".
LABEL = "labctl-test"
# Program -> Debian's package.
_PACKAGES = {
    "dockerd": "docker.io",
    "iptables": "iptables",
    "debootstrap": "debootstrap",
    "nsenter": "util-linux",
    "ssh": "openssh-client",
    "tar": "tar",
}
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class NoEngineError(RuntimeError):
    """What the test hosts need cannot be had on this machine; the message is one readable sentence."""


def owner() -> str:
    """This process, as the label says it."""
    return f"{os.getpid()}:{processes.start_ticks(os.getpid())}"


def lives(who: str) -> bool:
    """Whether the process that a label or the state file names still runs."""
    pid, _, ticks = who.partition(":")
    return pid.isdigit() and str(processes.start_ticks(int(pid))) == ticks


def need(*programs: str) -> None:
    """Install the missing ones where this is root on Debian or Ubuntu. Raises NoEngineError."""
    missing = [name for name in programs if not shutil.which(name, path=_PATH)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoEngineError(f"{', '.join(missing)} missing, and only root with apt-get could install it")
    wanted = sorted({_PACKAGES[name] for name in missing})
    install = ["apt-get", "install", "-y", "--no-install-recommends", *wanted]
    _log(install) or (_log(["apt-get", "update"]) and _log(install))
    missing = [name for name in programs if not shutil.which(name, path=_PATH)]
    if missing:
        raise NoEngineError(f"apt-get could not install {', '.join(wanted)}: see {STATE}/apt.log")


def _log(command: list[str]) -> bool:
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "apt.log").open("a") as log:
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        return subprocess.run(command, stdout=log, stderr=log, env=env, check=False).returncode == 0


@contextlib.contextmanager
def engine() -> Iterator[Any]:
    """A docker.DockerClient; an engine that was started for it is stopped by the last user. Raises NoEngineError."""
    import docker

    try:
        with _using():
            # Two sessions that begin at one moment start one engine.
            with alone("start"):
                client = docker.DockerClient.from_env() if _answers() else _start()
            yield client
            client.close()
    finally:
        with alone("use", wait=False) as last:
            if last:
                _stop()


@contextlib.contextmanager
def _using() -> Iterator[None]:
    """Count as a user of the engine of this checkout."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "use.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def alone(what: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold this checkout's lock of that name alone; False where others hold it and nobody is to wait."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / f"{what}.lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def _answers() -> bool:
    import docker

    place = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        if place.startswith("unix://"):
            # Asked first by hand: the SDK leaves a socket open where nobody listens.
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(place.removeprefix("unix://"))
        client = docker.DockerClient.from_env(timeout=10)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except (OSError, docker.errors.DockerException):
        return False


def _start() -> Any:
    import docker

    if os.geteuid() != 0:
        raise NoEngineError("no Docker engine answers, and only root could start one")
    need("dockerd", "iptables", "tar")
    if _answers():
        # systemd has started what was installed just now.
        return docker.DockerClient.from_env()
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "dockerd.log").open("ab") as log:
        # A session of its own: Ctrl-C ends pytest first, which then removes the hosts and stops the engine.
        # Not waited for here: _stop does, by its pid.
        command = [str(shutil.which("dockerd", path=_PATH))]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    ticks = processes.start_ticks(process.pid)
    (STATE / "dockerd.json").write_text(json.dumps({"engine": f"{process.pid}:{ticks}", "owner": owner()}))
    deadline = time.monotonic() + 30
    while not _answers():
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoEngineError(f"dockerd did not come up: see {STATE}/dockerd.log")
        time.sleep(0.1)
    # Whoever stops it may be a later session: then nobody here waits for it.
    process.returncode = 0
    return docker.DockerClient.from_env()


def _stop() -> None:
    """Stop the engine that this session, or a killed one, has started; not while another session uses it."""
    path = STATE / "dockerd.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        told = json.loads(path.read_text())
        others = lives(told["owner"]) and told["owner"] != owner()
        if others or not lives(told["engine"]) or _in_use():
            return
        pid = int(told["engine"].partition(":")[0])
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while lives(told["engine"]) and time.monotonic() < deadline:
            time.sleep(0.05)
        path.unlink()


def _in_use() -> bool:
    import docker

    client = docker.DockerClient.from_env(timeout=10)
    try:
        owners = {one.labels.get(LABEL, "") for one in client.containers.list(filters={"label": LABEL})}
    except docker.errors.DockerException:
        return False
    finally:
        client.close()
    return any(lives(who) for who in owners if who != owner())
