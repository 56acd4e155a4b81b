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
import site
import sys


def torch() -> dict[str, str | None] | None:
    """Version and path of PyTorch, or None."""
    spec = importlib.util.find_spec("torch")
    if spec is None:
        return None
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        version = None
    return {"version": version, "file": os.path.realpath(spec.origin) if spec.origin else None}


def offer() -> dict[str, object]:
    """Everything."""
    virtual = sys.prefix != sys.base_prefix
    below = os.path.join(sys.prefix, "")
    own = [path for path in sys.path if path.startswith(below) and path.endswith("-packages")]
    system = set(site.getsitepackages([sys.base_prefix, sys.base_exec_prefix])) & set(sys.path)
    return {"folders": own if virtual else [], "system": not virtual or bool(system), "torch": torch()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(offer()) + "\n")
