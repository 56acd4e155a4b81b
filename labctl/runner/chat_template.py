"""Whether a model brings a chat template, and ours for a base model that does not."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.runner.failures import ServerError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_FILE = "plain.jinja"
NAME = f"labctl:{_FILE}"  # ours, as records name it
# Files that only come with a chat template or a tokenizer that has one built in (transformers 5, mistral-common).
_CARRIERS = ("chat_template.jinja", "chat_template.json", "tekken.json", "tokenizer.model.v3")


class Template(NamedTuple):
    """``name`` for the record: "model", "none", NAME or a path; ``flags``: the words for ``vllm serve``."""

    name: str
    flags: tuple[str, ...] = ()


def choose(setting: str, engine: dict[str, Any], *, at_start: bool) -> Template:
    """What a server of ``engine`` gets; ``setting`` as Server.chat_template. Raises ServerError for a missing file.

    ``at_start``: one of ours goes to the server (--chat-template); else requests bring it, which vLLM allows with
    --trust-request-chat-template alone (validate_chat_template in vllm/renderers/online_renderer.py, 0.32.0).
    """
    if setting not in {"", "none"}:
        path = Path(setting).expanduser()
        if not path.is_file():
            raise ServerError(f"there is no chat template {setting} on the host")
        return Template(str(path), (f"--chat-template={path}",))
    if brings(str(engine.get("tokenizer") or engine["model"])):
        return Template("model")
    if setting == "none":
        return Template("none")
    if at_start:
        return Template(NAME, (f"--chat-template={_ours()}",))
    return Template(NAME, ("--trust-request-chat-template",))


def ours() -> str:
    """The text of our template."""
    return _ours().read_text(encoding="utf-8")


def _ours() -> Traversable:
    return resources.files("labctl.runner") / "chat_templates" / _FILE


def brings(model: str) -> bool:
    """Whether the tokenizer of a folder, or of a hub's model in the cache, has a chat template.

    As transformers looks for one: tokenizer_config.json (chat_template), or a file of its own.
    """
    config = _file(model, "tokenizer_config.json")
    try:
        told = json.loads(config.read_text(encoding="utf-8")) if config else {}
    except (OSError, ValueError):
        told = {}
    own = isinstance(told, dict) and bool(told.get("chat_template"))
    return own or any(_file(model, name) for name in _CARRIERS)


def _file(model: str, name: str) -> Path | None:
    folder = Path(model)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    try:
        import huggingface_hub
    except ImportError:
        return None
    try:
        found = huggingface_hub.try_to_load_from_cache(model, name)
    except ValueError:
        return None
    return Path(found) if isinstance(found, str) else None
