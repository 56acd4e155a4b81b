"""Which model is really used: a local folder, a hub's, or a synthetic one where no hub answers."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from labctl.runner import synthetic

_TIMEOUT = 10.0
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


def resolve(model: str, models_dir: Path, *, allow_synthetic: bool) -> Choice:
    """Choose. Raises ModelError for a missing path, an id the hub denies, or no hub and no fallback."""
    path = Path(model).expanduser()
    if path.exists():
        return Choice(model, str(path.resolve()), synthetic=False, weights="local", why="a folder on the host")
    if model.startswith(("/", "./", "../", "~")) or model.count("/") != 1:
        raise ModelError(f"the model path {model} does not exist on the host")
    silent = _modelscope(model) if _wants_modelscope() else _hugging_face(model)
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
    folder, weights = synthetic.make(model, config, models_dir)
    return Choice(model, str(folder), synthetic=True, weights=weights, why=f"no model hub answers: {silent}")


def _wants_modelscope() -> bool:
    return os.environ.get("VLLM_USE_MODELSCOPE", "").lower() in {"1", "true"}


def _hugging_face(model: str) -> str | None:
    """None where the hub or its cache has the model, else why nothing answers. Honours HF_ENDPOINT, HF_HUB_OFFLINE."""
    import huggingface_hub
    from huggingface_hub import constants, errors

    if isinstance(huggingface_hub.try_to_load_from_cache(model, "config.json"), str):
        return None
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set and the model is not in the cache"
    try:
        huggingface_hub.HfApi().model_info(model, timeout=_TIMEOUT)
    except errors.GatedRepoError as error:
        raise ModelError(f"the hub holds {model} behind a licence: accept it there and set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(f"the hub at {constants.ENDPOINT} answers that it has no model {model}") from error
    except Exception as error:  # noqa: BLE001 - every other failure means: nothing usable answers there
        return f"{constants.ENDPOINT}: {type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
    return None


def _modelscope(model: str) -> str | None:
    try:
        import modelscope  # noqa: F401 - vLLM needs it to download from there
    except ImportError:
        return "VLLM_USE_MODELSCOPE is set, but the package modelscope is not in the host's environment"
    domain = os.environ.get("MODELSCOPE_DOMAIN", _MODELSCOPE)
    try:
        urllib.request.urlopen(f"https://{domain}/api/v1/models/{model}", timeout=_TIMEOUT).close()
    except urllib.error.HTTPError as error:
        if error.code == 404:  # noqa: PLR2004 - HTTP's own number
            raise ModelError(f"ModelScope at {domain} answers that it has no model {model}") from error
        return f"{domain}: HTTP {error.code}"
    except OSError as error:
        return f"{domain}: {error}"
    return None
