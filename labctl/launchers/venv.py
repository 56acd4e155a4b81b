"""Starts the runner in the host's own environment, the one that ``labctl provision`` made."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from labctl import runner_wheel
from labctl.errors import LaunchError, NotProvisionedError, TransferError, UnreadableRunError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labctl.inventory import Host
    from labctl.runner.spec import RunSpec
    from labctl.sessions import Session

# Settings of the laptop that a run on a host follows too; secrets travel apart, in a 0600 file.
_FORWARDED = ("HF_ENDPOINT", "HF_HUB_OFFLINE", "VLLM_USE_MODELSCOPE", "MODELSCOPE_DOMAIN")
# How long a host may be silent meanwhile: a stop waits for the engine's end, a seal only hashes.
_CONTROL_S = {"stop": 60.0, "seal": 15.0}
_SECRETS = ("HF_TOKEN", "MODELSCOPE_API_TOKEN")


# A user name, a password or a token within an address.
_USERINFO = re.compile("//[^/@]*@")


def forwarded() -> dict[str, str]:
    """Settings that go into the spec, for everyone to read."""
    found = {name: os.environ[name] for name in _FORWARDED if os.environ.get(name)}
    return {name: value for name, value in found.items() if not _USERINFO.search(value)}


def forwarded_secrets() -> dict[str, str]:
    """What goes to the host in a 0600 file: tokens, and addresses that hold one."""
    found = {name: os.environ[name] for name in (*_FORWARDED, *_SECRETS) if os.environ.get(name)}
    return {name: value for name, value in found.items() if name in _SECRETS or _USERINFO.search(value)}


def has_environment(session: Session, facts: dict[str, Any]) -> bool:
    """Whether the interpreter that lab.json names is there."""
    python = PurePosixPath(str(facts.get("python")))
    return python.name in (session.names(str(python.parent)) or [])


def _card(data: bytes) -> dict[str, Any]:
    """lab.json as a dict. Raises ValueError, TypeError, RecursionError."""
    found = dict(json.loads(data))
    if not isinstance(found.get("python"), str):
        raise TypeError("it names no python")
    return found


def _plain(name: str, otherwise: str) -> str:
    """A name as part of a run id: plain characters, not too many."""
    return re.sub(r"[^0-9A-Za-z._-]+", "-", name).strip("-.")[:45] or otherwise


class VenvLauncher:
    """Runs ``{lab_dir}/env/bin/python -I -m labctl.runner RUN_DIR``."""

    def __init__(self, host: Host, session: Session) -> None:
        """``session`` must be open."""
        self.host = host
        self.session = session
        self._facts: dict[str, Any] | None = None

    def facts(self) -> dict[str, Any]:
        """lab.json, as the role lab_runner wrote it. Raises NotProvisionedError."""
        if self._facts is None:
            cure = f"labctl provision {self.host.name}"
            data = self.session.read(f"{self.host.lab_dir}/lab.json")
            if data is None:
                raise NotProvisionedError(f"host {self.host.name} is not provisioned ({self.host.lab_dir})", cure)
            try:
                self._facts = _card(data)
            except (ValueError, TypeError, RecursionError) as error:
                raise NotProvisionedError(f"{self.host.lab_dir}/lab.json is broken: {error}", cure) from error
        return self._facts

    def ready(self) -> None:
        """See Launcher.ready."""
        facts = self.facts()
        cure = f"labctl provision {self.host.name}"
        here, there = runner_wheel.version(), facts.get("runner")
        if there != here:
            raise NotProvisionedError(f"host {self.host.name} has runner {there}, this labctl needs {here}", cure)
        if not has_environment(self.session, facts):
            raise NotProvisionedError(f"host {self.host.name} has lost its environment: {facts.get('python')}", cure)

    def launch(self, spec: RunSpec, run_id: str, secrets: Mapping[str, str] | None = None) -> None:
        """See Launcher.launch."""
        run_dir = f"{self.host.lab_dir}/runs/{run_id}"
        self.session.put(spec.to_json().encode(), f"{run_dir}/spec.json")
        secret = f"{self.host.lab_dir}/secrets/{run_id}.json"
        held = {**forwarded_secrets(), **(secrets or {})}
        if held:
            self.session.put(json.dumps(held).encode(), secret, mode=0o600)
        done = self.session.run(self._command(run_dir), timeout=60)
        if done.code != 0:
            # Nobody is left to read it and delete it.
            self.session.run(["rm", "-f", secret])
            said = done.err.strip() or done.out.strip() or f"exit status {done.code}"
            raise LaunchError(
                f"the runner did not start on {self.host.name}: {said}", f"labctl doctor --host {self.host.name}"
            )

    def vllm(self) -> str | None:
        """See Launcher.vllm."""
        found = self.facts().get("vllm")
        return found if isinstance(found, str) else None

    def variant(self) -> str | None:
        """See Launcher.variant."""
        found = self.facts().get("variant")
        return found if isinstance(found, str) else None

    def control(self, run_id: str, verb: str) -> None:
        """See Launcher.control."""
        command = self._command(f"{self.host.lab_dir}/runs/{run_id}", f"--{verb}")
        done = self.session.run(command, timeout=_CONTROL_S[verb])
        if done.code != 0:
            raise UnreadableRunError(f"{self.host.name} could not {verb} {run_id}: {done.err.strip() or done.code}")

    def _command(self, run_dir: str, *more: str) -> list[str]:
        return [str(self.facts()["python"]), "-I", "-m", "labctl.runner", run_dir, *more]

    def new_id(self, spec: RunSpec) -> str:
        """See Launcher.new_id."""
        stem = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{_plain(self.host.name, 'host')}-{_plain(spec.lab, 'lab')}"
        for suffix in ("", *(f"-{number}" for number in range(2, 100))):
            if self.session.claim(f"{self.host.lab_dir}/runs/{stem}{suffix}"):
                return stem + suffix
        raise TransferError(f"host {self.host.name} has a hundred runs of this second already")
