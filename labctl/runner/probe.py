"""Facts about a machine. Runs on Python 3.6 or newer without any package: ``python3 probe.py LAB_DIR OUT.json``.

It changes nothing. An unknown fact is None. No secrets and no serial numbers: only names and numbers. Serves doctor,
the playbooks and the record alike; where there is no Python, probe.sh gives the same schema as far as it can tell.
LABCTL_PROBE_ROOT is put before the paths of /proc, /sys, /etc and their like, for tests with made-up trees.
"""

import base64
import configparser
import contextlib
import ctypes
import errno
import glob
import http.client
import io
import json
import os
import platform
import pwd
import re
import selectors
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from typing import Any  # noqa: F401 - type comments name it

SCHEMA = 2
PORTS = (8000,)
# Nothing that is asked here is waited for longer: a driver or a name server that hangs must not hang the look.
_PATIENCE = 3.0
_DEADLINE = 3.6
_LOG_LIMIT = 32 * 1024 * 1024
# Of what a command says: an interpreter that prints without end must not take the memory.
_SAID_LIMIT = 4 * 1024 * 1024
_CAP_SYS_ADMIN, _CAP_NET_ADMIN = 21, 12
# What users' programs may lie in, where a login without a terminal leaves PATH short.
_SYSTEM = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


# -- the whole ---------------------------------------------------------------------------------------------------------


def facts(lab_dir, network=False, light=False):  # type: (str, bool, bool) -> dict[str, Any]
    """Everything; sizes in bytes. ``lab_dir`` need not exist yet; a relative one lies below the home directory.

    ``network``: also whether an index and the model hub answer. ``light``: what the record of a run wants; nothing
    that asks interpreters, sudo or services.
    """
    folder = os.path.abspath(os.path.join(os.path.expanduser("~"), os.path.expanduser(lab_dir)))
    jobs = {"nvml": nvml, "xid": xid, "manager": _manager, "headers": lambda: _headers(folder)}  # type: dict[str, Any]
    if not light:
        jobs.update(pythons=lambda: pythons(folder), sudo=_sudo, docker=_docker_info, cuinit=cuinit)
        jobs.update(env=lambda: environment(folder), uv=lambda: _uv(folder), logind=_logind, module=_module_file)
    if network:
        jobs.update(index=index, hub=hub)
    found = _together(jobs, _DEADLINE)
    sudo = found.get("sudo") or ("root" if os.geteuid() == 0 else None)
    told = {
        "schema": SCHEMA,
        "by": "python",
        "hostname": platform.node(),
        "system": platform.system(),
        "time": time.time(),
        "os": _os_release(),
        "kernel": platform.release(),
        "arch": platform.machine(),
        "libc": _libc(),
        "cpu": cpu(),
        "memory": _memory(),
        "disk": _disk(folder),
        "shm": _disk("/dev/shm"),
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "pythons": found.get("pythons") or [],
        "user": {"name": _user(), "uid": os.getuid(), "home": os.path.expanduser("~"), "sudo": sudo},
        "systemd": os.path.isdir(_at("/run/systemd/system")),
        "container": _container(),
        "logind": found.get("logind") or {"kill_user_processes": None, "linger": None},
        "package_manager": next((name for name in ("apt-get", "dnf") if _which(name)), None),
        "docker": _docker(found.get("docker"), sudo),
        "compiler": {"cxx": _compiler(), "headers": found.get("headers")},
        "lscpu": _which("lscpu") is not None,
        "libnuma": _loads("libnuma.so.1"),
        "gpus": (found.get("nvml") or {}).get("gpus") or [],
        "nvidia": _nvidia(found),
        "ports": {str(port): _port_free(port) for port in PORTS},
        "lab": _lab(folder, found),
    }  # type: dict[str, Any]
    if network:
        late = {"endpoint": None, "answers": False, "why": "no answer in %.0f s" % _PATIENCE}
        told["network"] = {name: found.get(name) or late for name in ("index", "hub")}
    return told


def _together(jobs, seconds):  # type: (dict[str, Any], float) -> dict[str, Any]
    """What each function gives, all at once; a late or failing one is left out: a fact never costs the others."""
    results = {}  # type: dict[str, Any]

    def work(name):  # type: (str) -> None
        with contextlib.suppress(Exception):
            results[name] = jobs[name]()

    # Daemons: a thread that is stuck in a name server's silence does not keep the interpreter.
    threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in jobs]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(results)


# -- reading and running -----------------------------------------------------------------------------------------------


def _at(path):  # type: (str) -> str
    return os.environ.get("LABCTL_PROBE_ROOT", "") + path


def _read(path):  # type: (str) -> str
    try:
        with open(_at(path), errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def _which(name):  # type: (str) -> Any
    return shutil.which(name) or shutil.which(name, path=":".join(_SYSTEM))


def _run(command, seconds=_PATIENCE, most=_SAID_LIMIT):  # type: (list[str], float, int) -> Any
    """(exit status, output, complaints) of a command; None where it is absent, too slow or says more than ``most``."""
    plain = dict(os.environ, LC_ALL="C", LANGUAGE="C")
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=plain,
            start_new_session=True,
        )  # fmt: skip
    except OSError:
        return None
    try:
        out, err = _listen(process, time.monotonic() + seconds, most)
    except subprocess.TimeoutExpired:
        # Not waited for: what hangs in a driver cannot be killed either.
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        return None
    return process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def _listen(process, deadline, most):  # type: (Any, float, int) -> tuple[bytes, bytes]
    """Both outputs of a process that ends. Raises TimeoutExpired where it is late or says too much."""
    out, err = io.BytesIO(), io.BytesIO()
    with process.stdout, process.stderr, selectors.DefaultSelector() as open_:
        open_.register(process.stdout, selectors.EVENT_READ, out)
        open_.register(process.stderr, selectors.EVENT_READ, err)
        while open_.get_map():
            left = deadline - time.monotonic()
            if left <= 0 or out.tell() + err.tell() > most:
                raise subprocess.TimeoutExpired(process.args, left)
            for key, _ in open_.select(left):
                data = os.read(key.fd, 65536)
                key.data.write(data)
                if not data:
                    open_.unregister(key.fileobj)
    process.wait(max(0.0, deadline - time.monotonic()))
    return out.getvalue(), err.getvalue()


def _output(command, seconds=_PATIENCE, most=_SAID_LIMIT):  # type: (list[str], float, int) -> str
    done = _run(command, seconds, most)
    return done[1] if done and done[0] == 0 else ""


def _ask(program, code, seconds=_PATIENCE):  # type: (str, str, float) -> Any
    """What a child interpreter prints as JSON, or None: what crashes or hangs there does so alone."""
    try:
        return json.loads(_output([program, "-I", "-c", code], seconds) or "null")
    except ValueError:
        return None


# -- the system --------------------------------------------------------------------------------------------------------


def _os_release():  # type: () -> dict[str, object]
    rows = (line.split("=", 1) for line in _read("/etc/os-release").splitlines() if "=" in line)
    found = {key: value.strip().strip("\"'") for key, value in rows}
    return {
        "id": found.get("ID"),
        "like": found.get("ID_LIKE", "").split(),
        "version": found.get("VERSION_ID"),
        "codename": found.get("VERSION_CODENAME"),
        "name": found.get("PRETTY_NAME"),
    }


def _libc():  # type: () -> dict[str, object]
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (OSError, ValueError):
        name, version = "", ""
    if name:
        return {"name": name, "version": version or None}
    return {"name": "musl" if glob.glob("/lib/ld-musl-*") else None, "version": None}


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
    if os.path.exists(_at("/.dockerenv")):
        return "docker"
    if os.path.exists(_at("/run/.containerenv")):
        return "podman"
    # systemd writes what it found; a container's first process is told; Kubernetes tells everyone.
    text = _read("/proc/1/environ").split("\0")
    told = next((item.split("=", 1)[1] for item in text if item.startswith("container=")), None)
    named = _read("/run/systemd/container").strip() or told
    if named:
        return named
    group = re.search("(docker|kubepods|containerd|lxc|podman)", _read("/proc/1/cgroup"))
    return group.group(1) if group else "kubernetes" if os.environ.get("KUBERNETES_SERVICE_HOST") else None


def _port_free(port):  # type: (int) -> object
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as line:
        # As servers do: a connection that is only just over does not count as one who listens.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            line.bind(("127.0.0.1", port))
        except OSError as error:
            return False if error.errno == errno.EADDRINUSE else None
    return True


# -- the user and what he may do ---------------------------------------------------------------------------------------


def _user():  # type: () -> object
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None


def _sudo():  # type: () -> str
    if os.geteuid() == 0:
        return "root"
    done = _run(["sudo", "-n", "true"])
    if done is None:
        return "none"
    # "a password is required", or "interactive authentication is required" of the sudo written in Rust.
    return "free" if done[0] == 0 else "password" if "is required" in done[2] else "none"


def _logind():  # type: () -> dict[str, object]
    """Whether processes of a user who has logged out are killed, and whether this user is spared (linger)."""
    if not os.path.isdir(_at("/run/systemd/system")):
        return {"kill_user_processes": None, "linger": None}
    user = _user()
    linger = os.path.exists(_at("/var/lib/systemd/linger/%s" % user)) if user else None
    return {"kill_user_processes": _kills(), "linger": linger}


def _kills():  # type: () -> object
    if not os.environ.get("LABCTL_PROBE_ROOT"):
        words = ["busctl", "get-property", "org.freedesktop.login1", "/org/freedesktop/login1"]
        said = _output([*words, "org.freedesktop.login1.Manager", "KillUserProcesses"], 1.5).split()
        if len(said) == 2:  # noqa: PLR2004 - "b true"
            return said[1] == "true"
    found = None
    for folder in ("/usr/lib/systemd", "/run/systemd", "/etc/systemd"):
        drops = glob.glob(_at(folder) + "/logind.conf.d/*.conf")
        for path in [folder + "/logind.conf", *sorted(path[len(_at("")) :] for path in drops)]:
            for value in re.findall(r"(?m)^\s*KillUserProcesses\s*=\s*(\w+)", _read(path)):
                found = value.lower() in ("yes", "true", "1", "on")
    return found


def _docker_info():  # type: () -> dict[str, Any]
    program = _which("docker")
    if program is None:
        return {}
    done = _run([program, "info", "--format", "{{json .}}"])
    if done is None:
        return {"why": "docker info did not end in %.0f s" % _PATIENCE}
    try:
        info = json.loads(done[1])
    except ValueError:
        info = {}
    wrong = [str(line) for line in (info.get("ServerErrors") or []) + done[2].strip().splitlines() if line]
    version = info.get("ServerVersion") or None
    why = None if version else wrong[0] if wrong else "exit status %d" % done[0]
    return {"version": version, "why": why, "nvidia": _engine_nvidia(info) if version else None}


def _engine_nvidia(info):  # type: (dict[str, Any]) -> bool
    """Whether containers can be given a GPU: nvidia's runtime, or a description by CDI."""
    described = [path for folder in ("/etc/cdi", "/var/run/cdi") for path in glob.glob(_at(folder) + "/*nvidia*")]
    return "nvidia" in (info.get("Runtimes") or {}) or bool(described)


def _docker(info, sudo):  # type: (Any, object) -> dict[str, object]
    asked, info = info is not None, info or {}
    return {
        "program": _which("docker"),
        "version": info.get("version"),
        "answers": bool(info.get("version")) if asked else None,
        "why": info.get("why"),
        "nvidia": info.get("nvidia"),
        "room": _room(sudo),
    }


def _room(sudo):  # type: (object) -> bool
    """Whether an engine could run here: someone who may install it, systemd, and the rights that containers need."""
    if sudo not in ("root", "free", "password") or not os.path.isdir(_at("/run/systemd/system")):
        return False
    mounts = [line.split() for line in _read("/proc/self/mounts").splitlines()]
    groups = [row[3].split(",") for row in mounts if len(row) > 3 and row[1].startswith("/sys/fs/cgroup")]  # noqa: PLR2004
    bounds = re.search(r"(?m)^CapBnd:\s*([0-9a-f]+)", _read("/proc/self/status"))
    rights = int(bounds.group(1), 16) if bounds else 0
    needed = 1 << _CAP_SYS_ADMIN | 1 << _CAP_NET_ADMIN
    return any("rw" in options for options in groups) and rights & needed == needed


# -- compilers and libraries -------------------------------------------------------------------------------------------


def _compiler():  # type: () -> Any
    return _which(os.environ.get("CXX") or "g++") or _which("c++")


def _headers(folder):  # type: (str) -> object
    """Python.h of the interpreter that the lab environment uses, else of this one: torch.compile builds against it."""
    program = os.path.join(folder, "env", "bin", "python")
    if os.path.exists(os.path.join(folder, "env", "pyvenv.cfg")):
        include = _ask(program, "import json, sysconfig; print(json.dumps(sysconfig.get_paths()['include']))")
    else:
        include = sysconfig.get_paths()["include"]
    path = os.path.join(include or "", "Python.h")
    return path if include and os.path.exists(path) else None


def _loads(library):  # type: (str) -> object
    """The library's name where the dynamic linker finds it."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return None
    return library


# -- pythons -----------------------------------------------------------------------------------------------------------

# What an interpreter says of itself, on Python 3.4 or newer. torch is read, never imported (it takes seconds).
_ASK_PYTHON = r"""
import importlib.util, json, os, re, sys, sysconfig
def has(*names):
    return all(importlib.util.find_spec(name) is not None for name in names)
number = "%d.%d" % sys.version_info[:2]
inside = sys.prefix != sys.base_prefix
real = os.path.join(sys.base_prefix, "bin", "python" + number)
base = os.path.realpath(real if inside and os.path.exists(real) else sys.executable)
packages, torch = {}, None
for folder in sys.path:
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) and os.access(folder, os.R_OK) else []:
        if name.endswith((".dist-info", ".egg-info")) and "-" in name:
            found, _, version = name.rpartition(".")[0].partition("-")
            packages.setdefault(re.sub("[-_.]+", "-", found).lower(), version.partition("-py")[0])
    source = os.path.join(folder, "torch", "version.py")
    if torch is None and os.path.exists(source):
        with open(source) as handle:
            text = handle.read()
        said = dict(re.findall(r"(?m)^(__version__|cuda)\b[^=\n]*=\s*'([^']*)'", text))
        torch = {"version": said.get("__version__") or packages.get("torch"), "cuda": said.get("cuda")}
include = os.path.join(sysconfig.get_paths()["include"], "Python.h")
print(json.dumps({
    "executable": sys.executable, "base": base, "prefix": sys.prefix, "version": number,
    "full": "%d.%d.%d" % sys.version_info[:3], "headers": include if os.path.exists(include) else None,
    "venv": has("ensurepip", "venv"), "whole": has("_ssl", "_ctypes", "_sqlite3"),
    "torch": torch, "packages": packages if torch else {}, "inside": inside,
}))
"""
_FOLDERS = (
    "/opt/*/bin", "/opt/*/.venv/bin", "/opt/*/venv/bin", "/opt/conda/envs/*/bin", "/venv/*/bin", "/workspace/*venv/bin",
    "~/.venv/bin", "~/venv/bin", "~/miniconda3/bin", "~/miniforge3/bin", "~/anaconda3/bin",
)  # fmt: skip
_MOST = 24


def pythons(folder):  # type: (str) -> list[dict[str, Any]]
    """Every interpreter of this host but the lab's own, once each; an environment stands for itself if it has torch."""
    paths = _interpreters(folder)
    told = _together({path: lambda path=path: _ask(path, _ASK_PYTHON) for path in paths}, _PATIENCE)
    rows = {}  # type: dict[str, dict[str, Any]]
    # Interpreters before environments: an environment without torch only shows where its interpreter lies.
    for path, row in sorted(told.items(), key=lambda pair: (pair[1] or {}).get("inside", False)):
        if isinstance(row, dict) and row.get("base"):
            inside = row.pop("inside")
            row["headers"] = bool(row["headers"])
            row["executable"] = path if row["torch"] else row["base"]
            if inside and not row["torch"]:
                row["prefix"] = os.path.dirname(os.path.dirname(row["base"]))
            rows.setdefault(row["prefix"] if inside and row["torch"] else row["base"], row)
    return sorted(rows.values(), key=lambda row: paths.index(row["executable"]) if row["executable"] in paths else 99)


def _interpreters(folder):  # type: (str) -> list[str]
    """Paths to ask, environments first named by the user; two names of one file are one."""
    names = ["python3"] + ["python3.%d" % minor for minor in range(14, 8, -1)]
    chosen = [os.environ[name] + "/bin" for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    paths = [shutil.which(name) for name in names]
    plain = ["/usr/local/bin", "/usr/bin"]
    folders = [path for pattern in _FOLDERS for path in sorted(glob.glob(os.path.expanduser(pattern)))]
    paths += [os.path.join(path, name) for path in plain for name in names]
    paths = [path + "/python3" for path in chosen] + paths + [path + "/python3" for path in folders] + [sys.executable]
    unique = {}  # type: dict[tuple[str, str], str]
    for path in paths:
        if path and os.access(path, os.X_OK) and not path.startswith(folder + "/"):
            home = os.path.dirname(os.path.dirname(path))
            own = home if os.path.exists(os.path.join(home, "pyvenv.cfg")) else ""
            unique.setdefault((os.path.realpath(path), own), path)
    return list(unique.values())[:_MOST]


# -- the lab -----------------------------------------------------------------------------------------------------------


def _lab(folder, found):  # type: (str, dict[str, Any]) -> dict[str, Any]
    card = _card(folder)
    program = (card or {}).get("python")
    free = _disk(folder)["free"]
    empty = {"python": None, "stamp": None, "packages": [], "runner": None}  # type: dict[str, Any]
    return {
        "dir": folder,
        "free_gib": round(free / 2.0**30, 1) if isinstance(free, int) else None,
        "uv": found.get("uv"),
        "card": card,
        "whole": isinstance(program, str) and os.access(program, os.X_OK),
        "env": found.get("env") or empty,
    }


def _card(folder):  # type: (str) -> Any
    """lab.json of the role lab_runner, None where it is missing or broken."""
    try:
        with open(os.path.join(folder, "lab.json"), errors="replace") as handle:
            card = json.loads(handle.read(1 << 20))
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) else None


def _uv(folder):  # type: (str) -> object
    said = _output([os.path.join(folder, "uv", "bin", "uv"), "--version"]).split()
    return said[1] if len(said) > 1 else None


def environment(folder):  # type: (str) -> dict[str, Any]
    """What stands in the lab's environment; stamp None: absent or half built."""
    env = os.path.join(folder, "env")
    said = _ask(os.path.join(env, "bin", "python"), _ASK_PYTHON) or {}
    names = []  # type: list[str]
    for site in glob.glob(os.path.join(env, "lib", "python3*", "site-packages")):
        with contextlib.suppress(OSError):
            names += os.listdir(site)
    packages = sorted(_distribution(name) for name in names if name.endswith(".dist-info"))
    runner = [name.split("==")[1] for name in packages if name.startswith("labctl-runner==")]
    try:
        with open(os.path.join(env, "labctl-stamp"), errors="replace") as handle:
            stamp = handle.read().strip()  # type: Any
    except OSError:
        stamp = None
    return {
        "python": said.get("version"),
        "stamp": stamp,
        "packages": packages,
        "runner": runner[0] if len(runner) == 1 else None,
    }


def _distribution(name):  # type: (str) -> str
    """``name==version`` as a lock writes it, from the name of a dist-info folder."""
    found, _, number = name[: -len(".dist-info")].partition("-")
    return "%s==%s" % (re.sub("[-_.]+", "-", found).lower(), number)


# -- GPUs and the driver -----------------------------------------------------------------------------------------------

# In a child: a driver that hangs or a library that crashes is that child's end. Structures and codes as in nvml.h.
_FIND = r"""
import ctypes, json, os, sys
def load(name):
    places = ("/usr/lib/x86_64-linux-gnu/", "/usr/lib/aarch64-linux-gnu/", "/usr/lib64/", "/usr/local/nvidia/lib64/")
    for place in ("",) + places:
        try:
            return ctypes.CDLL(place + name)
        except OSError:
            pass
    print("null")
    sys.exit(0)
"""
_ASK_NVML = (
    _FIND
    + r"""
lib = load("libnvidia-ml.so.1")
class Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]
class Fabric(ctypes.Structure):
    _fields_ = [("uuid", ctypes.c_ubyte * 16), ("status", ctypes.c_int), ("clique", ctypes.c_uint)]
    _fields_.append(("state", ctypes.c_ubyte))
def text(function, *words):
    buffer = ctypes.create_string_buffer(128)
    try:
        code = getattr(lib, function)(*(words + (buffer, ctypes.c_uint(128))))
    except AttributeError:
        return None
    return buffer.value.decode("utf-8", "replace") if code == 0 else None
def fill(function, *words):
    try:
        return getattr(lib, function)(*words) == 0
    except AttributeError:
        return False
code = lib.nvmlInit_v2()
lib.nvmlErrorString.restype = ctypes.c_char_p
told = {"code": code, "name": (lib.nvmlErrorString(code) or b"").decode("utf-8", "replace"), "gpus": []}
try:
    with open("/proc/self/maps") as maps:
        real = [line.split()[-1] for line in maps if "libnvidia-ml.so." in line][0]
    number = os.path.basename(os.path.realpath(real)).split(".so.")[1]
    told["library"] = number if "." in number else None
except (OSError, IndexError):
    told["library"] = None
if code == 0:
    told["driver"] = text("nvmlSystemGetDriverVersion")
    number = ctypes.c_int()
    if fill("nvmlSystemGetCudaDriverVersion_v2", ctypes.byref(number)):
        told["cuda"] = "%d.%d" % (number.value // 1000, number.value % 1000 // 10)
    count, states = ctypes.c_uint(), []
    fill("nvmlDeviceGetCount_v2", ctypes.byref(count))
    for index in range(count.value):
        device = ctypes.c_void_p()
        got = lib.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
        if got:
            told.update(code=got, name=(lib.nvmlErrorString(got) or b"").decode("utf-8", "replace"))
            continue
        memory, major, minor, fabric = Memory(), ctypes.c_int(), ctypes.c_int(), Fabric()
        whole = fill("nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
        able = fill("nvmlDeviceGetCudaComputeCapability", device, ctypes.byref(major), ctypes.byref(minor))
        if fill("nvmlDeviceGetGpuFabricInfo", device, ctypes.byref(fabric)):
            states.append(fabric.state)
        told["gpus"].append({
            "index": str(index), "name": text("nvmlDeviceGetName", device), "uuid": text("nvmlDeviceGetUUID", device),
            "driver_version": told["driver"], "memory.total": str(memory.total // 1048576) if whole else None,
            "compute_cap": "%d.%d" % (major.value, minor.value) if able else None,
            "vbios_version": text("nvmlDeviceGetVbiosVersion", device),
        })
    # The worst of those that are part of a fabric.
    told["fabric"] = min([state for state in states if state] or states or [None])
    lib.nvmlShutdown()
print(json.dumps(told))
"""
)
_ASK_CUDA = (
    _FIND
    + r"""
lib = load("libcuda.so.1")
number = ctypes.c_int()
cuda = lib.cuDriverGetVersion(ctypes.byref(number)) == 0
version = "%d.%d" % (number.value // 1000, number.value % 1000 // 10)
print(json.dumps({"code": lib.cuInit(0), "cuda": version if cuda and number.value else None}))
"""
)
# What nvidia-smi says instead of a table, and NVML's code for it.
_SMI_SAYS = (
    ("version mismatch", 18),
    ("communicate with the NVIDIA driver", 9),
    ("GPU is lost", 15),
    ("Unknown Error", 999),
)
_FABRIC = ("not supported", "not started", "in progress", "completed")


def nvml():  # type: () -> dict[str, Any]
    """{"code", "name", "gpus", "driver", "cuda", "library", "fabric"} from NVML, else what nvidia-smi tells."""
    done = _run([sys.executable, "-I", "-c", _ASK_NVML])
    if done is None:
        return {"code": None, "name": "no answer in %.0f s" % _PATIENCE, "gpus": []}
    try:
        told = json.loads(done[1]) or _by_smi()
    except ValueError:
        told = {"code": None, "name": "the library crashed (exit status %d)" % done[0], "gpus": []}
    for row in told.get("gpus") or []:
        # The start of a UUID tells two GPUs apart; the whole of it is a serial number.
        row["uuid"] = row["uuid"][:8] + "..." if row.get("uuid") else None
    return told


def _by_smi():  # type: () -> dict[str, Any]
    program = _which("nvidia-smi")
    if program is None:
        return {}
    names = ("index", "name", "uuid", "driver_version", "memory.total", "compute_cap", "vbios_version")
    done = _run([program, "--query-gpu=" + ",".join(names), "--format=csv,noheader,nounits"], _PATIENCE / 2)
    if done is None:
        return {}
    if done[0] != 0:
        said = done[1] + done[2]
        code = next((code for words, code in _SMI_SAYS if words in said), None)
        return {"code": code, "name": (said.strip().splitlines() or [""])[0][:200], "gpus": []} if code else {}
    values = [[part.strip() for part in line.split(",")] for line in done[1].splitlines()]
    rows = [dict(zip(names, row)) for row in values if len(row) == len(names)]
    cuda = re.search(r"CUDA Version\s*:\s*([0-9.]+)", _output([program, "-q"], _PATIENCE / 2))
    driver = rows[0]["driver_version"] if rows else None
    return {"gpus": rows, "driver": driver, "cuda": cuda.group(1) if cuda else None}


def cuinit():  # type: () -> dict[str, Any]
    """{"code": what cuInit(0) gives, "cuda": what the driver supports}; empty where there is no libcuda."""
    return _ask(sys.executable, _ASK_CUDA) or {}


def _nvidia(found):  # type: (dict[str, Any]) -> dict[str, Any]
    told, cuda = found.get("nvml") or {}, found.get("cuinit") or {}
    devices = _pci()
    proc = _read("/proc/driver/nvidia/version")
    return {
        "pci": devices,
        "nvml": {"code": told["code"], "name": told.get("name")} if "code" in told else None,
        "library": told.get("library"),
        "driver": told.get("driver") or _module_version(proc),
        "cuda": told.get("cuda") or cuda.get("cuda"),
        "module": _module(proc, found.get("module") or {}),
        "cuinit": cuda.get("code"),
        "smi": _which("nvidia-smi"),
        "nouveau": os.path.isdir(_at("/sys/module/nouveau")),
        "secure_boot": _secure_boot(),
        "module_signed": _signed(found.get("module") or {}),
        "fabric": _fabric(devices, told.get("fabric"), found.get("manager")),
        "xid": found.get("xid"),
    }


def _pci():  # type: () -> list[dict[str, Any]]
    """NVIDIA's devices; ``driver`` is the kernel's that holds one: vfio-pci hands it to a virtual machine."""
    rows = []
    for folder in sorted(glob.glob(_at("/sys/bus/pci/devices") + "/*")):
        shown = folder[len(_at("")) :]
        if _read(shown + "/vendor").strip().lower() != "0x10de":
            continue
        # By PCI's classes: 0300 a VGA controller, 0302 a 3D controller, 0680 another bridge, which is an NVSwitch.
        family = _read(shown + "/class").strip().lower()[2:6]
        kind = {"0300": "gpu", "0302": "gpu", "0680": "nvswitch"}.get(family)
        if kind:
            device = _read(shown + "/device").strip().lower()[2:]
            link = folder + "/driver"
            driver = os.path.basename(os.readlink(link)) if os.path.islink(link) else None
            rows.append({"address": os.path.basename(folder), "device": device, "kind": kind, "driver": driver})
    return rows


def _module_version(proc):  # type: (str) -> Any
    named = re.search(r"Kernel Module\s+(?:for \S+\s+)?([0-9]+(?:\.[0-9]+)+)", proc)
    return named.group(1) if named else _read("/sys/module/nvidia/version").strip() or None


def _module(proc, file):  # type: (str, dict[str, Any]) -> dict[str, Any]
    loaded = bool(proc) or os.path.isdir(_at("/sys/module/nvidia"))
    if not loaded:
        return {"version": file.get("version"), "open": file.get("open"), "loaded": False}
    return {"version": _module_version(proc), "open": "Open Kernel Module" in proc if proc else None, "loaded": True}


def _module_file():  # type: () -> dict[str, Any]
    """The kernel module that lies ready for the running kernel: {"path", "version", "open", "signed"}."""
    release = platform.release()
    folder = next((name for name in ("/lib/modules/", "/usr/lib/modules/") if os.path.isdir(_at(name + release))), None)
    names = re.findall(r"(?m)^(\S*nvidia\.ko\S*):", _read("%s%s/modules.dep" % (folder, release))) if folder else []
    if not names:
        return {}
    path = _at("%s%s/%s" % (folder, release, names[0]))
    modinfo = _which("modinfo") or "modinfo"
    version = _output([modinfo, "-F", "version", path]).strip()
    license_ = _output([modinfo, "-F", "license", path]).strip()
    return {
        "path": path,
        "version": version or None,
        "open": "GPL" in license_ if license_ else None,
        "signed": _signature(path, modinfo),
    }


def _signature(path, modinfo):  # type: (str, str) -> object
    if path.endswith(".ko"):
        try:
            with open(path, "rb") as handle:
                handle.seek(-min(64, os.path.getsize(path)), os.SEEK_END)
                # The kernel's own mark, at the end of every signed module (scripts/sign-file.c).
                return handle.read().endswith(b"~Module signature appended~\n")
        except OSError:
            return None
    done = _run([modinfo, "-F", "signer", path])
    return bool(done[1].strip()) if done and done[0] == 0 else None


def _signed(file):  # type: (dict[str, Any]) -> object
    # A loaded module's taint holds E where its signature is missing or not trusted (admin-guide/tainted-kernels).
    taint = _at("/sys/module/nvidia/taint")
    return "E" not in _read("/sys/module/nvidia/taint") if os.path.exists(taint) else file.get("signed")


def _secure_boot():  # type: () -> object
    try:
        # Four bytes of attributes, then the value (UEFI specification, 8.2).
        with open(_at("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"), "rb") as handle:
            return handle.read(5)[4:] == b"\1"
    except OSError:
        pass
    # A container may be shown an empty /sys/firmware; a machine without the folder was started by a BIOS.
    hidden = os.path.isdir(_at("/sys/firmware/efi")) or _container() is not None
    return None if hidden or not os.path.isdir(_at("/sys/firmware")) else False


def _manager():  # type: () -> Any
    """{"program", "version"} of the fabric manager that is installed."""
    places = ["%s/nv-fabricmanager" % folder for folder in _SYSTEM]
    program = next((path for path in places if os.path.exists(_at(path))), None)
    said = _output([_at(program), "--version"], _PATIENCE / 2) if program else ""
    version = re.search(r"[0-9]+\.[0-9]+[0-9.]*", said)
    return {"program": program, "version": version.group(0) if version else None}


def _fabric(devices, state, found):  # type: (list[dict[str, Any]], Any, Any) -> dict[str, Any]
    needed = any(device["kind"] == "nvswitch" for device in devices)
    manager = None  # type: Any
    names = (_read(path[len(_at("")) :]).strip() for path in glob.glob(_at("/proc") + "/[0-9]*/comm"))
    # The kernel cuts names to 15 characters.
    if "nv-fabricmanage" in names:
        manager = "active"
    elif found and found["program"]:
        manager = "inactive"
    elif _container() is None:
        # A container does not see its machine's processes.
        manager = "absent"
    return {
        "needed": needed,
        "manager": manager,
        "version": (found or {}).get("version"),
        "state": _FABRIC[state] if isinstance(state, int) and state < len(_FABRIC) else None,
    }


def xid():  # type: () -> Any
    """NVIDIA's errors in the kernel log since the machine started: [{"code", "count", "last"}]; None: unreadable."""
    text = _kernel_log()
    if text is None:
        return None
    rows = {}  # type: dict[int, dict[str, Any]]
    for place, code, said in re.findall(r"NVRM: Xid \(([^)]*)\): (\d+)(.*)", text):
        row = rows.setdefault(int(code), {"code": int(code), "count": 0, "last": ""})
        row["count"] += 1
        row["last"] = ("%s%s" % (place, said)).strip()[:200]
    return sorted(rows.values(), key=lambda row: row["code"])


def _kernel_log():  # type: () -> Any
    try:
        return _kmsg()
    except OSError:
        pass
    if os.environ.get("LABCTL_PROBE_ROOT"):
        return None
    for command in (["dmesg"], ["sudo", "-n", "dmesg"], ["journalctl", "-k", "-q", "--no-pager"]):
        said = _output(command, 1.0, _LOG_LIMIT)
        if said:
            return said
    return None


def _kmsg():  # type: () -> Any
    """The whole of /dev/kmsg, one record a read. Raises OSError where this user may not."""
    log = io.BytesIO()
    handle = os.open(_at("/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK)
    try:
        while log.tell() < _LOG_LIMIT:
            try:
                data = os.read(handle, 65536)
            except BlockingIOError:
                break
            except BrokenPipeError:
                # Overwritten while we read: the next read goes on behind it.
                continue
            if not data:
                break
            log.write(data)
    finally:
        os.close(handle)
    return log.getvalue().decode("utf-8", "replace") or None


# -- the network -------------------------------------------------------------------------------------------------------


def hub():  # type: () -> dict[str, object]
    """Whether the model hub answers at all (any HTTP status)."""
    return _answer(os.environ.get("HF_ENDPOINT") or "https://huggingface.co", "")


def index():  # type: () -> dict[str, object]
    """Whether the package index answers: the one that uv or pip is set to here, else pip's own default."""
    options = _pip_options()
    set_ = [os.environ.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")]
    found = next((value for value in [*set_, options.get("index-url")] if value), None) or default_index()
    if found is None:
        why = "no pip here says which index it would use"
        return {"endpoint": None, "answers": None, "why": why}
    trust = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT") or options.get("cert")
    return _answer(found.rstrip("/"), "/uv/", trust, refusals=(401, 403, 407))


def _pip_options():  # type: () -> dict[str, str]
    """[global] of pip's configuration files, weakest first."""
    parser = configparser.RawConfigParser(strict=False)
    own = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    files = [_at("/etc/xdg/pip/pip.conf"), _at("/etc/pip.conf"), os.path.expanduser("~/.pip/pip.conf")]
    files += [own + "/pip/pip.conf", os.environ.get("PIP_CONFIG_FILE") or os.devnull]
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        parser.read(files)
    held = parser.items("global") if parser.has_section("global") else []
    return {name.replace("_", "-"): value for name, value in held}


def default_index():  # type: () -> Any
    """Address of pip's own default index, from a pip that lies here: this project writes down no index."""
    told = os.environ.get("LABCTL_DEFAULT_INDEX")
    name = "pip/_internal/models/index.py"
    folders = [*sys.path, "/usr/lib/python3/dist-packages"]
    texts = [_read(os.path.join(folder, name)) for folder in folders if folder]
    wheels = glob.glob(os.path.join(os.path.dirname(os.__file__), "ensurepip", "_bundled", "pip-*.whl"))
    for wheel in wheels + glob.glob("/usr/share/python-wheels/pip-*.whl"):
        with contextlib.suppress(OSError, KeyError, zipfile.BadZipFile), zipfile.ZipFile(wheel) as held:
            texts.append(held.read(name).decode("utf-8", "replace"))
    found = re.search(r'PyPI = PackageIndex\(\s*"(https?://[^"]+)"', "\n".join(texts))
    return told or (found.group(1).rstrip("/") + "/simple" if found else None)


def _answer(endpoint, path, trust=None, refusals=()):  # type: (str, str, Any, tuple[int, ...]) -> dict[str, object]
    """Whether an address answers within the patience, with another status than ``refusals`` or a server's failure."""
    # A mirror's address may carry a password.
    shown = re.sub("//[^/@]*@", "//", endpoint)
    login = re.match("(https?://)([^/@]*)@(.*)", endpoint)
    why = None
    try:
        request = urllib.request.Request((login.group(1) + login.group(3) if login else endpoint) + path)  # noqa: S310
        if login:
            secret = urllib.parse.unquote(login.group(2)).encode()
            request.add_header("Authorization", "Basic " + base64.b64encode(secret).decode())
        trusted = ssl.create_default_context(cafile=trust if trust and os.path.isfile(trust) else None)
        urllib.request.urlopen(request, timeout=_PATIENCE, context=trusted).close()  # noqa: S310 - the user's own setting
    except urllib.error.HTTPError as error:
        if refusals and (error.code in refusals or error.code >= 500):  # noqa: PLR2004 - a server's own failure
            why = "HTTP status %d" % error.code
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = str(getattr(error, "reason", None) or error).replace(endpoint, shown)
    return {"endpoint": shown, "answers": why is None, "why": why}


def main():  # type: () -> int
    """Write the facts as JSON to the path given second (``-``: to standard output), the network's included."""
    lab_dir, target = sys.argv[1], sys.argv[2]
    text = json.dumps(facts(lab_dir, network=True), indent=1, sort_keys=True) + "\n"
    if target == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        with open(target, "w") as handle:
            handle.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
