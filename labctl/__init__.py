"""labctl: a reproducible lab for vLLM, from a bare host to evidence in one line."""

from __future__ import annotations

__version__ = "0.1.0"
