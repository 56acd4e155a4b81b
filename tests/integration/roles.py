"""Roles and playbooks run by the real Ansible on this machine, on facts and a plan that a test gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from labctl import ansible_inventory, assets

# What every plan has (labctl/plan), for a machine that needs nothing.
PLAN: dict[str, Any] = {
    "kind": ["machine"],
    "sentence": "This host is a machine.",
    "variant": "cpu",
    "vllm": "0.32.0",
    "torch": "2.13.0",
    "lock": "vllm-0.32.0-cpu.txt",
    "mode": "uv",
    "python": "3.11",
    "base": sys.executable,
    "existing": None,
    "without": {},
    "missing": [],
    "manager": "apt-get",
    "may_install": False,
    "sudo": False,
    "sudo_password": False,
    "services": False,
}


def play(source: Path, roles: list[str], plan: dict[str, Any], *options: str, **variables: object) -> str:
    """Run roles on the facts of this machine and PLAN with these changes; give Ansible's exit status and output."""
    book = [
        {
            "hosts": "local",
            "gather_facts": False,
            "vars": _variables(source, variables),
            "pre_tasks": [
                {"name": "Look", "lab_facts": {"lab_dir": str(source.parent / "lab")}, "tags": ["always"]},
                {
                    "name": "Pretend",
                    "ansible.builtin.set_fact": {"labctl_plan": {**PLAN, **plan}, "cacheable": True},
                    "tags": ["always"],
                },
            ],
            "roles": [{"role": str(assets.folder("ansible") / "roles" / name), "tags": [name]} for name in roles],
        }
    ]
    path = source.parent / "play.json"
    path.write_text(json.dumps(book), encoding="utf-8")
    return run(source, path, *options)


def playbook(source: Path, name: str, *options: str, **variables: object) -> str:
    """Run one of labctl's playbooks on this machine."""
    values = source.parent / "values.json"
    values.write_text(json.dumps(_variables(source, variables)), encoding="utf-8")
    path = assets.folder("ansible") / "playbooks" / f"{name}.yml"
    return run(source, path, "--extra-vars", f"@{values}", *options)


def run(source: Path, path: Path, *options: str) -> str:
    """Run a playbook; the output begins with ``exit N``."""
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, *ansible_inventory.sources(source), *options, str(path)]
    variables = ansible_inventory.environment(source)
    variables["ANSIBLE_REMOTE_TEMP"] = variables["ANSIBLE_LOCAL_TEMP"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False)
    return f"exit {done.returncode}\n{done.stdout}{done.stderr}"


def changed(said: str) -> int:
    """How many tasks changed something, from Ansible's recap."""
    return int(said.rsplit("changed=", 1)[1].split(maxsplit=1)[0])


def _variables(source: Path, more: dict[str, object]) -> dict[str, object]:
    folder = str(source.parent / "lab")
    base = {"ansible_python_interpreter": sys.executable, "lab_dir": folder, "preflight_lab_dir": folder}
    return {**base, **more}
