"""Masks secrets in every line before it is written and hashed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MASK = "[masked]"
_NAMES = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL)", re.IGNORECASE)
# Short values (a "0" or "true" in a variable called ..._TOKENS) are no secrets and would mask half the log.
_LEAST = 8
_PATTERNS = (
    re.compile(r"\bhf_[A-Za-z0-9]{16,}"),
    re.compile(r"\bsk-[A-Za-z0-9_-]{16,}"),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/=-]{8,}"),
    # vLLM prints its arguments: --api-key X, 'api_key': ['X'], api_key='X' (vllm/entrypoints, up to 0.25).
    re.compile(r"(?i)(?<=api[_-]key)(?:['\"]?\s*[:=]\s*|\s+)\[?['\"]?[^\s'\",\]]{4,}['\"]?\]?"),
    # User and password in a URL (package indexes).
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
)


class Redactor:
    """Callable: a text with every secret replaced by ``[masked]``."""

    def __init__(self, environment: Mapping[str, str], secrets: Mapping[str, str] | None = None) -> None:
        """Takes the values of secret-looking variables of ``environment`` and all values of ``secrets``."""
        values = {value for name, value in environment.items() if _NAMES.search(name) and len(value) >= _LEAST}
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
