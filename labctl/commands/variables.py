"""Variables of the roles, as the command line gives them."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from labctl import assets
from labctl.errors import UsageError


def extra(words: list[str]) -> dict[str, Any]:
    """Variables from NAME=VALUE (YAML), @FILE or a mapping in YAML. Raises UsageError."""
    import yaml

    values: dict[str, Any] = {}
    for word in words:
        name, sign, text = word.partition("=")
        try:
            if word.startswith(("@", "{")):
                told = yaml.safe_load(Path(word[1:]).read_text(encoding="utf-8") if word[0] == "@" else word)
            else:
                told = {name: _typed(text, yaml.safe_load(text))} if sign and name.isidentifier() else None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UsageError(f"--extra-vars {word}: {' '.join(str(error).split())}") from error
        if not isinstance(told, dict):
            raise UsageError(f"--extra-vars {word}: this is no NAME=VALUE, no @FILE with such, and no YAML mapping")
        values |= told
    if "lab_dir" in values:
        raise UsageError("lab_dir is written in the inventory, where every verb of labctl finds it")
    for name in values:
        _need_known(name)
    return values


def _need_known(name: str) -> None:
    """Raise UsageError for a variable that no role takes: a misspelt one would be passed over in silence."""
    known = _known()
    if name in known or name.startswith("ansible_"):
        return
    near = difflib.get_close_matches(name, known, n=1)
    nearest = f"; nearest: {near[0]}" if near else ""
    raise UsageError(f"--extra-vars: no role takes a variable {name!r}{nearest}")


def _known() -> set[str]:
    """What group_vars/all.yml sets, and what the roles' argument_specs name."""
    import yaml

    ansible = assets.folder("ansible")
    found = set(yaml.safe_load((ansible / "group_vars" / "all.yml").read_text(encoding="utf-8")))
    for path in ansible.glob("roles/*/meta/argument_specs.yml"):
        specs = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
        found |= {name for spec in specs.values() for name in spec.get("options") or {}}
    return found


def _typed(text: str, value: Any) -> Any:
    """What YAML makes of a text; but 3.10 stays what was written, which no number is."""
    return text if isinstance(value, float) and repr(value) != text else value
