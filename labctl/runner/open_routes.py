"""Which routes of a server answer without its API key: asked, not assumed.

vLLM guards by the path alone, before it looks at the method: what begins with /v1, /v2, /inference or /cohere
(vllm/entrypoints/serve/middleware/authenticate.py, 0.32.0). So every route is asked by GET, which starts nothing: one
that wants POST says 405, and was open all the same.
"""

from __future__ import annotations

import http.client
import re
from typing import TYPE_CHECKING, Any

from labctl.runner import wire

if TYPE_CHECKING:
    from labctl.runner.serving import Endpoint

_SCHEMA = "/openapi.json"
# What FastAPI and vLLM serve without naming it there.
_UNNAMED = (_SCHEMA, "/docs", "/redoc", "/metrics", "/health")
# Those that run the model and stand outside of what vLLM guards (its routers in vllm/entrypoints, 0.32.0).
RUN_THE_MODEL = frozenset({"/invocations", "/generative_scoring", "/pooling", "/classify", "/score", "/rerank"})
_DENIED = (401, 403)
_NO_SUCH = 404
_PARAMETER = re.compile(r"{[^}]*}")
_MOST = 500
_PATIENCE = 5.0


def look(endpoint: Endpoint) -> dict[str, Any]:
    """{"tested": number, "open": [{"path", "status"}], "error": None or why the list is not whole}, no key given."""
    stranger = endpoint._replace(key="")
    named, error = _named(endpoint)
    paths = sorted({*named, *_UNNAMED})[:_MOST]
    found = [{"path": path, "status": _status(stranger, path)} for path in paths]
    # A path that nobody named and nobody serves is no route.
    there = [one for one in found if not (one["path"] not in named and one["status"] == _NO_SUCH)]
    return {"tested": len(there), "open": [one for one in there if one["status"] not in _DENIED], "error": error}


def _named(endpoint: Endpoint) -> tuple[list[str], str | None]:
    """The paths in the server's own description, and what is wrong with it."""
    try:
        answer = wire.get(endpoint, _SCHEMA, _PATIENCE)
        return [str(path) for path in answer.json()["paths"]], None
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        return [], f"{_SCHEMA} could not be read: {type(error).__name__}"


def _status(stranger: Endpoint, path: str) -> int | None:
    """HTTP's number without a key; None where nothing came in time (nobody refused it, so it counts as open)."""
    try:
        return wire.get(stranger, _PARAMETER.sub("x", path), _PATIENCE).status
    except (OSError, http.client.HTTPException, ValueError):
        return None
