"""Find vLLM's published wheels in the index that pip is set up with, and read single files out of them.

Only the generator uses this. It needs the development dependencies `requests`, `packaging` and `remotezip`,
imported inside the functions. Of a wheel of 300 MB it reads under one, by HTTP range requests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urldefrag, urljoin

if TYPE_CHECKING:
    from packaging.version import Version

TIMEOUT_S = 60
# Index answers in JSON (PEP 691); many mirrors only know the HTML of PEP 503.
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"


class Wheel(NamedTuple):
    """One published wheel: file name, address, and the sha256 that the index gives ("" if it gives none)."""

    filename: str
    url: str
    sha256: str


def index_url() -> str:
    """Address of the simple index: PIP_INDEX_URL, else `pip config get global.index-url`, else pip's own default.

    It may hold a password, so it is never printed. Raises OSError where no pip is there to say.
    """
    if configured := os.environ.get("PIP_INDEX_URL"):
        return configured
    return _pip("config", "get", "global.index-url").strip() or default_index(_pip("install", "--help"))


def default_index(text: str) -> str:
    """Pip's default, as its help names it: this project writes down no index. Raises OSError where it does not."""
    found = re.search(r"\(default\s+(https?://[^\s)]+)\)", text)
    if found is None:
        raise OSError("no pip here says which index it uses: set PIP_INDEX_URL")
    return found[1]


def _pip(*words: str) -> str:
    """What pip says: this environment's, else the one that python3 has (an environment made by uv has none)."""
    for python in (sys.executable, "python3"):
        done = subprocess.run([python, "-m", "pip", *words], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout
    return ""


def published(project: str = "vllm") -> dict[Version, Wheel]:
    """Give the wheel that pip would take on x86_64 Linux for every final release, ascending by version.

    Raises OSError when the index does not answer.
    """
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    chosen: dict[Version, tuple[tuple[int, str] | tuple[()], Wheel]] = {}
    for wheel in listing(project):
        if not wheel.filename.endswith("x86_64.whl") or "manylinux" not in wheel.filename:
            continue
        try:
            _, version, build, _ = parse_wheel_filename(wheel.filename)
        except InvalidWheelFilename:
            continue  # the index also holds names from before the rules
        # A rebuilt wheel has a build tag (vllm-0.23.0-2-...): pip takes the highest.
        if not version.is_prerelease and (version not in chosen or build > chosen[version][0]):
            chosen[version] = (build, wheel)
    return {version: chosen[version][1] for version in sorted(chosen)}


def read(wheel: Wheel, wanted: tuple[str, ...]) -> dict[str, str]:
    """Texts by path of the Python files in the wheel that `wanted` names, or whose folder it names ("a/b/").

    Raises OSError when the server does not do range requests: only a whole download would help then.
    """
    import requests  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from remotezip import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        RangeNotSupported,
        RemoteZip,
    )

    try:
        with (
            requests.Session() as session,
            RemoteZip(wheel.url, session=session, timeout=TIMEOUT_S) as archive,
        ):
            names = [name for name in archive.namelist() if _is_wanted(name, wanted)]
            return {name: archive.read(name).decode() for name in names}
    except RangeNotSupported as error:
        message = f"The server of {wheel.filename} does not do range requests."
        raise OSError(message) from error


def _is_wanted(name: str, wanted: tuple[str, ...]) -> bool:
    folder = name[: name.rfind("/") + 1]
    return name.endswith(".py") and (name in wanted or folder in wanted)


def listing(project: str) -> list[Wheel]:
    """Every file of a project in the index, source archives too. Raises OSError when the index does not answer."""
    import requests  # type: ignore[import-not-found,import-untyped,unused-ignore]

    page = f"{index_url().rstrip('/')}/{project}/"
    answer = requests.get(page, headers={"Accept": ACCEPT}, timeout=TIMEOUT_S)
    if not answer.ok:
        message = f"The package index answered {answer.status_code} when asked for {project}."
        raise OSError(message)  # raise_for_status would put the address, and a password in it, into its text
    if "json" not in answer.headers.get("content-type", ""):
        return links(answer.text, answer.url)
    return [
        Wheel(file["filename"], urljoin(answer.url, file["url"]), file["hashes"].get("sha256", ""))
        for file in answer.json()["files"]
    ]


def links(page: str, base: str) -> list[Wheel]:
    """Files of a PEP 503 page, whose links look like `<a href="../x/vllm-1.whl#sha256=...">`."""
    parser = _Links()
    parser.feed(page)
    found = []
    for href in parser.hrefs:
        url, fragment = urldefrag(urljoin(base, href))
        found.append(Wheel(url.rsplit("/", 1)[-1], url, fragment.removeprefix("sha256=")))
    return found


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hrefs += [value for name, value in attrs if tag == "a" and name == "href" and value]
