"""What a host holds of a model, and what it has to fetch; run by the Python of the lab's environment.

``hub.py lacking ID...``: which of them are not whole here, as JSON; no network.
``hub.py files ID``: asks the hub, writes down what is wanted, prints {"commit", "files", "home"}.
``hub.py download ID``: becomes `hf download` for what was written down; files that are whole stay.

What is wanted is what vLLM loads (labctl.runner.model.needed): repositories often hold the same weights twice.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

# As labctl/runner/machine.py sets it for runs; huggingface_hub reads it when it is imported.
HOME = Path(os.environ.get("HF_HOME") or Path(os.environ["LABCTL_MODELS"]) / "hf")
os.environ["HF_HOME"] = str(HOME)


def wanted(model: str) -> Path:
    """Where it is written down."""
    return HOME / "labctl" / f"{model.replace('/', '--')}.json"


def whole(model: str) -> bool:
    """Whether every wanted file is here: the hub's own cache shows a file once it is complete."""
    try:
        row: dict[str, Any] = json.loads(wanted(model).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    folder = HOME / "hub" / f"models--{model.replace('/', '--')}" / "snapshots" / row["commit"]
    return bool(row["files"]) and all((folder / name).exists() for name in row["files"])


def files(model: str) -> dict[str, Any]:
    """Ask the hub. Raises SystemExit with a sentence."""
    from huggingface_hub import HfApi, constants, errors

    from labctl.runner.model import needed

    try:
        info = HfApi().model_info(model, timeout=30)
    except errors.GatedRepoError:
        sys.exit(f"the hub holds {model} behind a licence: accept it there, and name a file with your token")
    except errors.RepositoryNotFoundError:
        sys.exit(f"the hub at {constants.ENDPOINT} answers that it has no model {model} (or the token gives no access)")
    except errors.HfHubHTTPError as error:
        sys.exit(f"the hub at {constants.ENDPOINT} refuses {model}: HTTP {error.response.status_code}")
    except errors.HFValidationError as error:
        sys.exit(f"{model!r} is no id of a model: {error}")
    except Exception as error:  # noqa: BLE001 - whatever a network has to say
        said = (str(error).splitlines() or [""])[0][:200]
        sys.exit(f"no model hub answers at {constants.ENDPOINT} ({type(error).__name__}: {said})")
    found = needed([file.rfilename for file in info.siblings or []], weights=True)
    if not found:
        sys.exit(f"the hub's repository {model} holds nothing that vLLM could load")
    row = {"commit": info.sha, "files": found}
    path = wanted(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row), encoding="utf-8")
    return {**row, "home": str(HOME)}


def download(model: str) -> None:
    """Become the environment's own program for it."""
    row = json.loads(wanted(model).read_text(encoding="utf-8"))
    program = str(Path(sys.executable).with_name("hf"))
    os.execv(program, [program, "download", model, *row["files"], "--revision", row["commit"], "--quiet"])  # noqa: S606


def main(verb: str, *models: str) -> None:
    """Do it."""
    if verb == "lacking":
        sys.stdout.write(json.dumps([model for model in models if not whole(model)]) + "\n")
    elif verb == "files":
        sys.stdout.write(json.dumps(files(*models)) + "\n")
    else:
        download(*models)


if __name__ == "__main__":
    main(*sys.argv[1:])
