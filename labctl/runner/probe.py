"""Facts about a machine. Runs on Python 3.6 or newer without any package: ``python3 probe.py LAB_DIR OUT.json``.

An unknown fact is None. No secrets: only names and numbers. Serves doctor, the playbooks and the record alike.
"""

import contextlib
import ctypes.util
import http.client
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from typing import Any  # noqa: F401 - type comments name it

SCHEMA = 1


def facts(lab_dir):  # type: (str) -> dict[str, object]
    """Everything; sizes in bytes. ``lab_dir`` need not exist yet."""
    return {
        "schema": SCHEMA,
        "hostname": platform.node(),
        "os": _os_release(),
        "kernel": platform.release(),
        "arch": platform.machine(),
        "cpu": cpu(),
        "memory": _memory(),
        "disk": _disk(lab_dir),
        "shm": _disk("/dev/shm"),
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "user": {"uid": os.getuid(), "sudo": shutil.which("sudo") is not None},
        "systemd": os.path.isdir("/run/systemd/system"),
        "container": _container(),
        "docker": shutil.which("docker") is not None,
        "compiler": {"cxx": shutil.which("g++") or shutil.which("c++"), "headers": _headers(lab_dir)},
        "lscpu": shutil.which("lscpu") is not None,
        "libnuma": ctypes.util.find_library("numa"),
        "gpus": _gpus(),
    }


def _read(path):  # type: (str) -> str
    try:
        with open(path, errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def _os_release():  # type: () -> dict[str, object]
    rows = (line.split("=", 1) for line in _read("/etc/os-release").splitlines() if "=" in line)
    found = {key: value.strip('"') for key, value in rows}
    return {"id": found.get("ID"), "version": found.get("VERSION_ID"), "name": found.get("PRETTY_NAME")}


def cpu():  # type: () -> dict[str, Any]
    """Model, cores, cores this process may use, and the matrix instructions that vLLM can use."""
    text = _read("/proc/cpuinfo")
    model = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16")
    try:
        usable = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        usable = None
    return {
        "model": model[0] if model else None,
        "count": os.cpu_count(),
        "usable": usable,
        "features": [flag for flag in wanted if flag in flags],
    }


def _memory():  # type: () -> dict[str, object]
    rows = {}
    for line in _read("/proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        rows[key] = value.split()
    found = {}  # type: dict[str, object]
    for name, key in (("total", "MemTotal"), ("available", "MemAvailable"), ("swap", "SwapTotal")):
        found[name] = int(rows[key][0]) * 1024 if rows.get(key) else None
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    found["cgroup_limit"] = int(limit) if limit.isdigit() else None
    return found


def _disk(path):  # type: (str) -> dict[str, object]
    # The folder may be made later: its nearest parent says what disk it will be on.
    while path and not os.path.exists(path):
        path = os.path.dirname(path.rstrip("/")) or "/"
    try:
        found = os.statvfs(path)
    except OSError:
        return {"path": path, "total": None, "free": None}
    return {"path": path, "total": found.f_blocks * found.f_frsize, "free": found.f_bavail * found.f_frsize}


def _container():  # type: () -> object
    if os.path.exists("/.dockerenv"):
        return "docker"
    if os.path.exists("/run/.containerenv"):
        return "podman"
    text = _read("/proc/1/environ").split("\0")
    return next((item.split("=", 1)[1] for item in text if item.startswith("container=")), None)


def _headers(lab_dir):  # type: (str) -> object
    """Python.h of the interpreter that the lab environment uses, else of this one."""
    config = os.path.join(lab_dir, "env", "pyvenv.cfg")
    home = [line.split("=", 1)[1].strip() for line in _read(config).splitlines() if line.startswith("home")]
    if home:
        program = os.path.join(lab_dir, "env", "bin", "python")
        command = [program, "-I", "-c", "import sysconfig; print(sysconfig.get_paths()['include'])"]
        include = _run(command).strip()
    else:
        include = sysconfig.get_paths()["include"]
    path = os.path.join(include, "Python.h")
    return path if include and os.path.exists(path) else None


def _gpus():  # type: () -> list[dict[str, str]]
    if shutil.which("nvidia-smi") is None:
        return []
    names = ("index", "name", "uuid", "driver_version", "memory.total", "compute_cap", "vbios_version")
    text = _run(["nvidia-smi", "--query-gpu=" + ",".join(names), "--format=csv,noheader,nounits"])
    rows = []
    for line in text.splitlines():
        values = [part.strip() for part in line.split(",")]
        if len(values) == len(names):
            row = dict(zip(names, values))
            # The start of a UUID tells two GPUs apart; the whole of it is a serial number.
            row["uuid"] = row["uuid"][:8] + "..."
            rows.append(row)
    return rows


def _run(command):  # type: (list[str]) -> str
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def hub():  # type: () -> dict[str, object]
    """Whether the model hub answers at all (any HTTP status), within three seconds."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    # A mirror's address may carry a password.
    shown = re.sub("//[^/@]*@", "//", endpoint)
    try:
        urllib.request.urlopen(endpoint, timeout=3).close()  # noqa: S310 - the user's own setting
    except urllib.error.HTTPError:
        pass
    except (OSError, ValueError, http.client.HTTPException) as error:
        return {"endpoint": shown, "answers": False, "why": str(error).replace(endpoint, shown)}
    return {"endpoint": shown, "answers": True, "why": None}


def main():  # type: () -> int
    """Write the facts as JSON to the path given second; what only the network can tell goes with them."""
    lab_dir, target = sys.argv[1], sys.argv[2]
    with contextlib.closing(open(target, "w")) as handle:
        found = dict(facts(os.path.expanduser(lab_dir)), hub=hub())
        json.dump(found, handle, indent=1, sort_keys=True)
        handle.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
