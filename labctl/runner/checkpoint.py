"""What lies in a model's safetensors files, read from their headers alone."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

_LARGEST_HEADER = 100_000_000  # bytes: the format's own limit


def tensors(model: str) -> dict[str, int]:
    """{name: bytes} of each tensor of ``model``: a folder, or a hub's id whose files are here. Empty where none are.

    Raises OSError and ValueError for files that are not what they are called. The header is 8 bytes of its length, then
    JSON: https://github.com/huggingface/safetensors#format.
    """
    found: dict[str, int] = {}
    folder = _folder(model)
    for path in sorted(folder.glob("*.safetensors")) if folder else ():
        for name, entry in _header(path).items():
            if name != "__metadata__":
                first, last = entry["data_offsets"]
                found[name] = last - first
    return found


def _folder(model: str) -> Path | None:
    if Path(model).is_dir():
        return Path(model)
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(model, local_files_only=True))
    except (OSError, ValueError):
        return None


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as handle:
        start = handle.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _LARGEST_HEADER + 1  # noqa: PLR2004 - a u64
        if length > _LARGEST_HEADER:
            raise ValueError(f"{path.name} is no safetensors file")
        header = json.loads(handle.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"{path.name} is no safetensors file")  # noqa: TRY004 - broken data, no wrong argument
    return header
