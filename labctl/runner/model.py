"""Which model is really used: a local folder, a hub's, or a synthetic one where no hub answers."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from labctl.runner import ending, synthetic

_TIMEOUT = 10.0
# HTTP's own numbers (RFC 9110): below, the hub answered and means it; from here on it is broken.
_SERVER_ERROR = 500
_NOT_ALLOWED = (401, 403)
_MODELSCOPE = "www.modelscope.cn"  # the default of the modelscope package (MODELSCOPE_DOMAIN)


class ModelError(RuntimeError):
    """The model cannot be used; the message is one readable sentence."""


@dataclass(frozen=True)
class Choice:
    """``used`` goes to vLLM; ``weights`` is hub, local, random or dummy; ``why`` is for the record and the page."""

    requested: str
    used: str
    synthetic: bool
    weights: str
    why: str


def resolve(model: str, models_dir: Path, *, allow_synthetic: bool, weights: bool = True) -> Choice:
    """Choose, and download from the Hugging Face hub what is not in its cache (no ``weights`` for load_format=dummy).

    Raises ModelError for a missing path, an id the hub denies, or no hub and no fallback.
    """
    path = Path(model).expanduser()
    if path.exists():
        return Choice(model, str(path.resolve()), synthetic=False, weights="local", why="a folder on the host")
    if model.startswith(("/", "./", "../", "~")) or model.count("/") > 1:
        raise ModelError(f"the model path {model} does not exist on the host")
    silent = _modelscope(model) if _wants_modelscope() else _hugging_face(model, weights=weights)
    if silent is None:
        return Choice(model, model, synthetic=False, weights="hub", why="the model hub answers or has it cached")
    if not allow_synthetic:
        raise ModelError(f"no model hub answers ({silent}), and --no-synthetic refuses a synthetic model")
    config = synthetic.architecture(model)
    if config is None:
        names = ", ".join(synthetic.known())
        raise ModelError(
            f"no model hub answers ({silent}), and the lab knows no architecture for {model} to make a synthetic "
            f"one (it knows {names}); give a local path"
        )
    folder, kind = synthetic.make(model, config, models_dir)
    return Choice(model, str(folder), synthetic=True, weights=kind, why=f"no model hub answers: {silent}")


def _wants_modelscope() -> bool:
    return os.environ.get("VLLM_USE_MODELSCOPE", "").lower() in {"1", "true"}


def _hugging_face(model: str, *, weights: bool) -> str | None:
    """None where the hub or its cache has the model, else why nothing answers. Honours HF_ENDPOINT, HF_HUB_OFFLINE."""
    import huggingface_hub
    from huggingface_hub import constants, errors

    silent = "HF_HUB_OFFLINE is set and the model is not in the cache"
    if not constants.HF_HUB_OFFLINE:
        try:
            silent = _download(model, weights=weights)
        except errors.GatedRepoError as error:
            raise ModelError(f"the hub holds {model} behind a licence: accept it there and set HF_TOKEN") from error
        except errors.RepositoryNotFoundError as error:
            # Without a right to see it, the hub gives the same answer (401) as for a model that is not there.
            hint = " (or HF_TOKEN gives no access to it)" if error.response.status_code in _NOT_ALLOWED else ""
            raise ModelError(f"the hub at {constants.ENDPOINT} answers that it has no model {model}{hint}") from error
        except errors.HFValidationError as error:
            raise ModelError(f"{model!r} is neither a folder on the host nor a model id: {error}") from error
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            if status < _SERVER_ERROR:
                hint = ": check HF_TOKEN" if status in _NOT_ALLOWED else ""
                raise ModelError(f"the hub at {constants.ENDPOINT} refuses {model}: HTTP {status}{hint}") from error
            silent = f"{constants.ENDPOINT}: HTTP {status}"
    cached = isinstance(huggingface_hub.try_to_load_from_cache(model, "config.json"), str)
    return None if cached else silent or None


def _download(model: str, *, weights: bool) -> str:
    """Fetch what vLLM will load; an empty text, or why nothing answers. Raises the hub's own refusals.

    Here, and not by vLLM: minutes of download are no part of an engine's start.
    """
    import huggingface_hub
    from huggingface_hub import constants, errors

    try:
        info = huggingface_hub.HfApi().model_info(model, timeout=_TIMEOUT)
        wanted = needed([file.rfilename for file in info.siblings or []], weights=weights)
        huggingface_hub.snapshot_download(model, allow_patterns=wanted)
    except (errors.HfHubHTTPError, errors.HFValidationError):
        raise
    except Exception as error:
        if ending.is_disk_full(error):
            raise
        said = str(error).splitlines()[:1] or [""]
        return f"{constants.ENDPOINT}: {type(error).__name__}: {said[0][:200]}"
    return ""


def needed(files: list[str], *, weights: bool) -> list[str]:
    """Which files of a repository vLLM loads: settings, tokenizer, and one format of weights, safetensors first.

    As vllm/model_executor/model_loader/default_loader.py (0.32.0) chooses for load_format="auto".
    """
    top = [name for name in files if "/" not in name]
    plain = [name for name in top if name.endswith((".json", ".txt", ".model", ".py", ".jinja", ".tiktoken"))]
    formats = ([name for name in top if name.endswith(kind)] for kind in (".safetensors", ".bin", ".pt"))
    return plain + (next((found for found in formats if found), []) if weights else [])


def _modelscope(model: str) -> str | None:
    try:
        import modelscope  # noqa: F401 - vLLM needs it to download from there
    except ImportError:
        return "VLLM_USE_MODELSCOPE is set, but the package modelscope is not in the host's environment"
    domain = os.environ.get("MODELSCOPE_DOMAIN", _MODELSCOPE)
    try:
        urllib.request.urlopen(f"https://{domain}/api/v1/models/{model}", timeout=_TIMEOUT).close()
    except urllib.error.HTTPError as error:
        if error.code < _SERVER_ERROR:
            said = f"ModelScope at {domain} refuses {model}: HTTP {error.code} (404: it has no such model)"
            raise ModelError(said) from error
        return f"{domain}: HTTP {error.code}"
    except OSError as error:
        return f"{domain}: {error}"
    return None
