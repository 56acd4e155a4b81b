"""Say, as JSON, what the Python that runs this offers to an environment that builds on it.

``folders``: the package folders of the virtual environment it is (none where it is none: --system-site-packages does
there). ``system``: whether its base's packages are seen as well. ``torch``: version and path, from metadata; PyTorch
is not imported. Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import site
import sys


def version(origin: str | None) -> str | None:
    """As PyTorch itself says it (2.11.0+cu130), where its metadata may leave out the build (2.11.0)."""
    try:
        with open(os.path.join(os.path.dirname(origin or ""), "version.py"), encoding="utf-8") as handle:
            found = re.search(r"^__version__[^=\n]*=\s*['\"]([^'\"]+)", handle.read(), re.MULTILINE)
        if found:
            return found[1]
        return importlib.metadata.version("torch")
    except (OSError, importlib.metadata.PackageNotFoundError):
        return None


def torch() -> dict[str, str | None] | None:
    """Version and path of PyTorch, or None."""
    spec = importlib.util.find_spec("torch")
    if spec is None:
        return None
    return {"version": version(spec.origin), "file": os.path.realpath(spec.origin) if spec.origin else None}


def offer() -> dict[str, object]:
    """Everything."""
    virtual = sys.prefix != sys.base_prefix
    below = os.path.join(sys.prefix, "")
    own = [path for path in sys.path if path.startswith(below) and path.endswith("-packages")]
    system = set(site.getsitepackages([sys.base_prefix, sys.base_exec_prefix])) & set(sys.path)
    return {"folders": own if virtual else [], "system": not virtual or bool(system), "torch": torch()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(offer()) + "\n")
