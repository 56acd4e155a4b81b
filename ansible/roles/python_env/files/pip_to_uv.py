#!/usr/bin/env python3
"""Run uv with this machine's pip configuration: ``pip_to_uv.py UV ARGUMENT...``.

uv reads none of pip's files and variables, so an index, a folder of wheels or a certificate that an
administrator gave to pip would be ignored. The translation happens on the machine and ends in exec: an index
address may carry a token, which so reaches neither the caller nor a command line. Standard library only,
Python 3.8 or newer, no pip needed.
Order of pip's files: https://pip.pypa.io/en/stable/topics/configuration/
"""

from __future__ import annotations

import configparser
import os
import sys
from pathlib import Path

# pip option -> (uv's variable, what joins several values). What the user set for uv by himself stays.
VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "keyring-provider": ("UV_KEYRING_PROVIDER", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "proxy": ("ALL_PROXY", " "),
}
# Older names of the same uv settings: one of these set by the user counts as set.
ALIASES = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}


def config_files(environ: dict[str, str], home: Path, prefix: Path) -> list[Path]:
    """Pip's configuration files, weakest first; they need not exist."""
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    shared = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    found = [Path(folder, "pip", "pip.conf") for folder in shared.split(":") if folder]
    found.append(Path("/etc/pip.conf"))
    if not (named and Path(named).exists()):
        own = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        found += [home / ".pip" / "pip.conf", own / "pip" / "pip.conf"]
    found.append(prefix / "pip.conf")
    return [*found, Path(named)] if named else found


def options(texts: list[str], environ: dict[str, str]) -> dict[str, list[str]]:
    """Pip's options from file texts (weakest first) and PIP_* variables. Raises configparser.Error."""
    merged: dict[str, str] = {}
    for section in ("global", "install"):
        for text in texts:
            parser = configparser.RawConfigParser()
            parser.read_string(text)
            if parser.has_section(section):
                merged.update({name.replace("_", "-"): value for name, value in parser.items(section)})
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            merged[name[4:].lower().replace("_", "-")] = value
    return {name: value.split() for name, value in merged.items() if value and value.split()}


def translate(found: dict[str, list[str]], environ: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Give (variables to add for uv, flags to append)."""
    added: dict[str, str] = {}
    for option, (variable, joint) in VARIABLES.items():
        if option not in found or environ.get(variable) or environ.get(ALIASES.get(variable, "")):
            continue
        added[variable] = joint.join(os.path.expanduser(value) for value in found[option])
    if "UV_INDEX" in added and not environ.get("UV_INDEX_STRATEGY"):
        # What pip does: the best of all indexes, not the first that has the name.
        added["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    offline = found.get("no-index", ["0"])[0].lower() in ("1", "true", "yes", "on")
    return added, ["--no-index"] if offline else []


def _texts(files: list[Path]) -> list[str]:
    texts = []
    for path in files:
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except OSError:
            continue
    return texts


def main(command: list[str]) -> None:
    """Become uv; exits 2 where pip's configuration cannot be read."""
    environ = dict(os.environ)
    try:
        found = options(_texts(config_files(environ, Path.home(), Path(sys.prefix))), environ)
    except configparser.Error as error:
        # The error itself quotes lines of the file, and one of them may hold a token.
        kind = type(error).__name__
        sys.exit(f"pip's configuration cannot be read ({kind}); see: python3 -m pip config debug")
    added, flags = translate(found, environ)
    os.execvpe(command[0], [*command, *flags], {**environ, **added})  # noqa: S606 - this is its purpose


if __name__ == "__main__":
    main(sys.argv[1:])
