#!/usr/bin/python
"""Ansible module: what a host has and lacks for a vLLM lab, found in one look."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import shutil
import subprocess
import sys

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: lab_facts
short_description: What a host has and lacks for a vLLM lab
description: Looks (and changes nothing) for a Python, libnuma, a compiler, uv and the environment.
author: [labctl]
options:
  lab_dir:
    description: The lab directory; a relative one lies below the home directory.
    type: str
    required: true
  python:
    description: The Python that the environment is to run on, such as 3.11.
    type: str
    required: true
"""
EXAMPLES = """
- name: Look at the host
  lab_facts:
    lab_dir: labctl
    python: "3.11"
"""
RETURN = """
ansible_facts:
  description: Everything found, under the key labctl.
  returned: always
  type: dict
"""

# What an interpreter says of its base, so that an environment never builds on another environment.
ASK = """
import json, os, sys, sysconfig
base = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
def has(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True
print(json.dumps({
    "version": "%d.%d" % sys.version_info[:2],
    "base": base,
    "headers": os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")),
    "venv": has("ensurepip") and has("venv"),
    "whole": has("ssl") and has("ctypes") and has("sqlite3"),
}))
"""


def output(command):
    """Standard output of a command, or None where it is absent, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def ask(interpreter):
    """What an interpreter says about itself, or None."""
    text = output([interpreter, "-I", "-c", ASK])
    try:
        return json.loads(text or "")
    except ValueError:
        return None


def interpreters(version):
    """Yield what each Python of this version says about itself, those on PATH first."""
    name = f"python{version}"
    tried = set()
    fixed = [f"/usr/bin/{name}", f"/usr/local/bin/{name}", sys.executable]
    for path in [shutil.which(name), shutil.which("python3"), *fixed]:
        if path and path not in tried:
            tried.add(path)
            found = ask(path)
            if found and found["version"] == version and found["whole"]:
                yield found


def choose(version):
    """Give the interpreter for the environment, one with headers before one without, or None."""
    without = None
    for found in interpreters(version):
        if found["headers"]:
            return found
        without = without or found
    return without


def distribution(name):
    """Give `name==version` as a lock writes it, from the name of a dist-info folder."""
    found, _, number = name[: -len(".dist-info")].partition("-")
    return f"{re.sub('[-_.]+', '-', found).lower()}=={number}"


def environment(folder, version):
    """Give what stands in the environment (stamp None: absent or half built), and what its Python says."""
    found = ask(os.path.join(folder, "bin", "python"))
    site = os.path.join(folder, "lib", f"python{version}", "site-packages")
    names = os.listdir(site) if os.path.isdir(site) else []
    packages = sorted(distribution(name) for name in names if name.endswith(".dist-info"))
    runner = [name.split("==")[1] for name in packages if name.startswith("labctl-runner==")]
    return {
        "python": found["version"] if found else None,
        "stamp": read(os.path.join(folder, "labctl-stamp")),
        "packages": packages,
        "runner": runner[0] if len(runner) == 1 else None,
    }, found


def read(path):
    """Stripped text of a small file, or None."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read().strip()
    except OSError:
        return None


def loads(library):
    """Whether the dynamic linker finds a library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def free_gib(folder):
    """Free GiB on the file system that the folder is, or would be, on."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return round(shutil.disk_usage(folder).free / 2**30, 1)


def sudo():
    """Give (whether sudo works without a password, whether it asks for one); (False, False) where it cannot work."""
    plain = dict(os.environ, LC_ALL="C")
    command = ["sudo", "-n", "true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=plain)
    except (OSError, subprocess.SubprocessError):
        return False, False
    # "a password is required", or "interactive authentication is required" of the sudo written in Rust.
    return done.returncode == 0, done.returncode != 0 and "is required" in done.stderr


def installer(missing):
    """How packages can be installed here: by which manager, whether at all, whether by sudo and at what price."""
    manager = next((name for name in ("apt-get", "dnf") if shutil.which(name)), None)
    root = os.geteuid() == 0
    free, asks = sudo() if missing and manager and not root else (False, False)
    return {
        "package_manager": manager,
        "may_install": bool(missing and manager) and (root or free),
        "sudo": free,
        "sudo_password": asks,
    }


def facts(lab_dir, version):
    """Everything, as plain data."""
    folder = os.path.abspath(os.path.join(os.path.expanduser("~"), os.path.expanduser(lab_dir)))
    env, inside = environment(os.path.join(folder, "env"), version)
    python = inside if inside and inside["version"] == version else choose(version)
    uv = (output([os.path.join(folder, "uv", "bin", "uv"), "--version"]) or "").split()
    makers = (ask(sys.executable), python, ask("/usr/bin/python3"))
    maker = next((found for found in makers if found and found["venv"]), None)
    missing = []
    if not loads("libnuma.so.1"):
        missing.append("libnuma")
    if not shutil.which(os.environ.get("CXX") or "g++"):
        missing.append("compiler")
    if python and not python["headers"]:
        missing.append("headers")
    if not uv and not maker:
        missing.append("venv")
    return {
        "dir": folder,
        "system": platform.system(),
        "machine": platform.machine(),
        "free_gib": free_gib(folder),
        "python": python["base"] if python else None,
        "maker": maker["base"] if maker else None,
        "uv": uv[1] if len(uv) > 1 else None,
        "env": env,
        "missing": missing,
        **installer(missing),
    }


def main():
    """Run as an Ansible module."""
    needed = {"type": "str", "required": True}
    module = AnsibleModule(argument_spec={"lab_dir": needed, "python": needed}, supports_check_mode=True)
    found = facts(module.params["lab_dir"], module.params["python"])
    module.exit_json(changed=False, ansible_facts={"labctl": found})


if __name__ == "__main__":
    main()
