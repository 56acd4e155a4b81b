"""One set of checks for a host that was provisioned: of Molecule, or a real one (`make acceptance HOST=gpu1`).

Without a host to ask (`--hosts` or `--ansible-inventory`) nothing here is collected: there is nothing to check then.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import zlib
from pathlib import Path
from typing import Any

import pytest

PROBE = Path(__file__).parents[3] / "labctl" / "runner" / "probe.py"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the checks out where no host is named."""
    named = config.getoption("hosts", None) or config.getoption("ansible_inventory", None)
    return None if named or collection_path.suffix != ".py" else True


def _lab_dir() -> str:
    """As the scenario says it, else as the inventory does for the host of `make acceptance`."""
    from labctl import inventory

    return os.environ.get("LABCTL_LAB_DIR") or inventory.resolve(os.environ["LABCTL_HOST"]).lab_dir


@pytest.fixture(scope="module")
def facts(host: Any) -> dict[str, Any]:
    """What the one probe says of the host. It is sent in the words of the command: nothing is left there."""
    packed = base64.b64encode(zlib.compress(PROBE.read_bytes(), 9)).decode()
    script = (
        "import base64,json,zlib;told={'__name__':'probe'};"
        f"exec(zlib.decompress(base64.b64decode('{packed}')),told);"
        f"print(json.dumps(told['facts']({_lab_dir()!r})))"
    )
    found: dict[str, Any] = json.loads(host.check_output("python3 -c " + shlex.quote(script)))
    return found


@pytest.fixture(scope="module")
def lab(host: Any) -> str:
    """The lab directory, as a whole path."""
    return str(host.check_output(f"cd && realpath -m -- {shlex.quote(_lab_dir())}"))


@pytest.fixture(scope="module")
def ledger(host: Any, lab: str) -> list[list[str]]:
    """What was put on the system outside the lab directory, as words."""
    text = host.check_output(f"cat {shlex.quote(lab)}/placed/*.txt 2>/dev/null || true")
    return [line.split() for line in text.splitlines()]


@pytest.fixture(scope="module")
def card(host: Any, lab: str) -> dict[str, Any]:
    """The lab's card; a host without one has no lab."""
    card = host.file(f"{lab}/lab.json")
    if not card.exists:
        pytest.skip("no lab here: nothing but single roles was applied")
    found: dict[str, Any] = json.loads(card.content_string)
    return found
