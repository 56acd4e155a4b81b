"""What a lab needs of a host (``needs`` in its file), and the sentence where the host has not got it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of the host: ``gpus`` (at least so many), ``variant`` (of its vLLM: cuda or cpu), ``vllm_below`` (the first release
# that is too new). ``why`` is said with a refusal.
_KEYS = {"gpus": int, "variant": str, "vllm_below": str, "why": str}


def read(lab: Mapping[str, Any]) -> dict[str, Any]:
    """The ``needs`` of a lab, checked; empty where it has none. Raises UsageError."""
    found = lab.get("needs", {})
    name = lab.get("lab")
    if not isinstance(found, dict) or set(found) - set(_KEYS):
        raise UsageError(f"the lab {name}: needs must be a table of {', '.join(_KEYS)}")
    for key, value in found.items():
        if type(value) is not _KEYS[key]:
            raise UsageError(f"the lab {name}: needs.{key} has the wrong type: {value!r}")
    return found


def of_version(lab: Mapping[str, Any], vllm: str) -> None:
    """Raise UsageError where the lab is for older releases of vLLM."""
    from packaging.version import InvalidVersion, Version

    needs = read(lab)
    below = needs.get("vllm_below")
    if below is None:
        return
    try:
        fits = Version(vllm) < Version(below)
    except InvalidVersion as error:
        raise UsageError(f"{error} (the lab {lab.get('lab')} needs vLLM below {below})") from error
    if not fits:
        raise UsageError(_sentence(lab, f"needs vLLM below {below}, and this is {vllm}"))


def of_host(lab: Mapping[str, Any], host: str, variant: str | None, gpus: int | None) -> None:
    """Raise UsageError where the host's vLLM is of another variant, or it has too few GPUs; None: not known."""
    needs = read(lab)
    wanted = needs.get("variant")
    if wanted and variant and wanted != variant:
        raise UsageError(_sentence(lab, f"needs vLLM's {wanted} variant, and {host} has {variant}"))
    least = needs.get("gpus", 0)
    if gpus is not None and gpus < least:
        many = "1 GPU" if gpus == 1 else f"{gpus or 'no'} GPUs"
        wanted = "1 GPU" if least == 1 else f"{least} GPUs"
        raise UsageError(_sentence(lab, f"needs {wanted}, and {host} has {many}"))


def shared(lab: Mapping[str, Any], hosts: int) -> Mapping[str, Any]:
    """The lab with what it needs of each of so many hosts that run it together."""
    needs = read(lab)
    return {**lab, "needs": {**needs, "gpus": -(-needs["gpus"] // hosts)}} if "gpus" in needs else lab


def _sentence(lab: Mapping[str, Any], what: str) -> str:
    why = str(read(lab).get("why", ""))
    return f"the lab {lab.get('lab')} {what}{f': {why}' if why else ''}"
