"""Where this machine gets Debian's packages from: its own apt configuration, in both of apt's formats."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.hosts.engine import NoEngineError

_APT = Path("/etc/apt")
_RELEASE = Path("/etc/os-release")
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Source(NamedTuple):
    """One repository."""

    uri: str
    suite: str
    components: tuple[str, ...]


def sources(suite: str) -> str:
    """sources.list with Debian's main for ``suite``, its updates and its security; empty where there is none."""
    wanted = {suite, f"{suite}-updates", f"{suite}-security"}
    found = dict.fromkeys(one for one in _offered(suite) if one.suite in wanted and "main" in one.components)
    return "".join(f"deb [signed-by={_KEYS}] {one.uri} {one.suite} main\n" for one in found)


def mirror(suite: str) -> str:
    """Address of the first repository that holds ``suite``. Raises NoEngineError."""
    for one in _offered(suite):
        if one.suite == suite and "main" in one.components:
            return one.uri
    raise NoEngineError(f"no registry answers, and this machine's apt knows no repository of Debian {suite}")


def _offered(suite: str) -> list[Source]:
    """What this machine knows of ``suite``; else its own suite's mirrors, which mostly hold every other one too."""
    known = _all()
    own = _codename()
    if not own or any(one.suite == suite for one in known):
        return known
    return [one._replace(suite=one.suite.replace(own, suite)) for one in known if one.suite.startswith(own)]


def _codename() -> str:
    """This machine's own suite, where it is Debian."""
    told = dict(line.split("=", 1) for line in _RELEASE.read_text().splitlines() if "=" in line)
    return told.get("VERSION_CODENAME", "").strip('"') if told.get("ID", "").strip('"') == "debian" else ""


def _all() -> list[Source]:
    texts = [path.read_text() for path in (_APT / "sources.list", *_files("list")) if path.is_file()]
    stanzas = [text for path in _files("sources") for text in re.split(r"\n\s*\n", path.read_text())]
    return [one for text in texts for one in _lines(text)] + [one for text in stanzas for one in _stanza(text)]


def _files(kind: str) -> list[Path]:
    return sorted((_APT / "sources.list.d").glob(f"*.{kind}"))


def _lines(text: str) -> list[Source]:
    """``deb [options] URI SUITE COMPONENT...``, of Debian's own archive (sources.list(5))."""
    found = []
    for line in text.splitlines():
        words = re.sub(r"\[.*?\]", "", line.partition("#")[0]).split()
        if words[:1] == ["deb"] and len(words) > 3:
            found.append(Source(words[1], words[2], tuple(words[3:])))
    return found


def _stanza(text: str) -> list[Source]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        value = line
        if not line[0].isspace():
            name, _, value = line.partition(":")
            name = name.strip().lower()
        fields[name] = f"{fields.get(name, '')} {value}"
    if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").strip().lower() == "no":
        return []
    uris, suites, components = (fields.get(name, "").split() for name in ("uris", "suites", "components"))
    return [Source(uri, suite, tuple(components)) for uri in uris for suite in suites]
