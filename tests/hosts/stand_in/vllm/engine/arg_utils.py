"""A STAND-IN for vllm.engine.arg_utils: the argument names of the version that it stands for."""

import dataclasses
import json
from pathlib import Path
from typing import Any

_NAMES = json.loads(Path(__file__).parents[1].joinpath("arguments.json").read_text(encoding="utf-8"))

ENGINE = frozenset(_NAMES["engine"])
SAMPLING = frozenset(_NAMES["sampling"])
EngineArgs = dataclasses.make_dataclass("EngineArgs", [(name, Any, None) for name in sorted(ENGINE)])
