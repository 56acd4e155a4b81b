"""Masks secrets in every line before it is written and hashed; and what names a single card where it is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MASK = "[masked]"
# Whole words of a name, at its end: HF_TOKEN and AWS_SECRET_ACCESS_KEY, not TOKENIZER_PATH nor HF_TOKEN_PATH.
_NAMES = re.compile(r"(^|[_-])(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIALS?)$", re.IGNORECASE)
# Short values (a "0" or "true" in a variable called ..._TOKENS) are no secrets and would mask half the log.
_LEAST = 8
_PATTERNS = (
    re.compile(r"\bhf_[A-Za-z0-9]{16,}"),
    re.compile(r"\bsk-[A-Za-z0-9_-]{16,}"),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/=-]{8,}"),
    # vLLM prints its arguments: --api-key X, 'api_key': ['X'], api_key='X' (vllm/entrypoints, up to 0.25).
    re.compile(r"(?i)(?<=api[_-]key)(?:['\"]?\s*[:=]\s*|\s+)\[?['\"]?[^\s'\",\]]{4,}['\"]?\]?"),
    # User and password, or a token alone, in a URL (package indexes, mirrors).
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),
)

# What names one card or chassis and not its kind: UUIDs but for their beginning, and what nvidia-smi -q says of it.
_OWN = (
    re.compile(r"(?i)(?<=\b(?:GPU|MIG)-[0-9a-f]{4})[0-9a-f]{4}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    re.compile(r"(?m)(?<=Serial Number)[ \t]*:[ \t]*(?!\[?N/A\b)\S+$"),
    re.compile(r"(?m)(?<=GPU PDI)[ \t]*:[ \t]*(?!\[?N/A\b)\S+$"),
    re.compile(r"(?m)(?<=ClusterUUID)[ \t]*:[ \t]*(?!\[?N/A\b)\S+$"),
    re.compile(r"(?m)(?<=GPU Fabric GUID)[ \t]*:[ \t]*(?!\[?N/A\b)\S+$"),
)


def unnamed(text: str) -> str:
    """What a tool says of the hardware, without the numbers of a single card: runs are shown to others."""
    for pattern in _OWN:
        text = pattern.sub(lambda found: _mask(found.group()), text)
    return text


def secret_name(name: str) -> bool:
    """Whether a variable or argument of this name holds a secret (max_tokens does not)."""
    return bool(_NAMES.search(name))


def secret_within(path: str, value: object) -> str | None:
    """Where in an argument's value (lists and tables of JSON) a text lies by a secret's name; None: nowhere."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, held in inner:
        where = f"{path}.{key}"
        texts = held if isinstance(held, (list, tuple)) else [held]
        # A table of this name is none: a JSON schema describes such a field.
        if secret_name(str(key)) and any(isinstance(text, str) and text for text in texts):
            return where
        if found := secret_within(where, held):
            return found
    return None


class Redactor:
    """Callable: a text with every secret replaced by ``[masked]``."""

    def __init__(self, environment: Mapping[str, str], secrets: Mapping[str, str] | None = None) -> None:
        """Takes the values of secret-looking variables of ``environment`` and all values of ``secrets``."""
        values = {value for name, value in environment.items() if secret_name(name) and len(value) >= _LEAST}
        values |= {value for value in (secrets or {}).values() if value}
        self._values = sorted(values, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The masked text."""
        for value in self._values:
            text = text.replace(value, MASK)
        for pattern in _PATTERNS:
            text = pattern.sub(lambda found: _mask(found.group()), text)
        return text


def _mask(found: str) -> str:
    # The api-key pattern takes in the separator before the value; keep it, so that the line stays readable.
    lead = re.match(r"['\"]?\s*[:=]?\s*", found)
    return (lead.group() if lead and lead.group() != found else "") + MASK
