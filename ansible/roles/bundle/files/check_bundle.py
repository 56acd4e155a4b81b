#!/usr/bin/env python3
"""Check a bundle and put its split files together: ``check_bundle.py FOLDER [--verify] [--all]``.

Every file of SHA256SUMS is read and compared; one that is missing or altered is named, and nothing is joined. Else
``FOLDER/joined`` holds what bundle.json lists, and nothing more. ``--verify`` writes nothing. What labctl itself is
installed from (``controller/``, its script) may be absent, which a host does not need; with ``--all`` it may not.
Prints "joined N files" where it changed something, "nothing to do" where all was right; exit status 1 where the
bundle is refused. What did not change since it was found right (size, times, inode) is not read again. Standard
library only, Python 3.8 or newer.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from typing import Any

SUMS, LIST, JOINED, SEEN = "SHA256SUMS", "bundle.json", "joined", ".seen.json"
BLOCK = 1 << 20
SHOWN = 5
DIGITS = 64


class RefusedError(Exception):
    """What is wrong with the bundle, as a sentence."""


def checksum(paths: list[str]) -> str:
    """Hex sha256 over the files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as handle:
            for data in iter(lambda: handle.read(BLOCK), b""):
                digest.update(data)
    return digest.hexdigest()


def plain(name: object) -> bool:
    """Whether a path of the bundle's lists stays inside of it."""
    return isinstance(name, str) and not {"", ".", ".."} & set(name.split("/")) and "\\" not in name


def sums(folder: str) -> dict[str, str]:
    """{path: checksum} of SHA256SUMS."""
    try:
        with open(os.path.join(folder, SUMS), encoding="utf-8") as handle:
            lines = handle.read().splitlines()
    except FileNotFoundError:
        raise RefusedError(f"it is not whole: {SUMS} is missing; `labctl bundle` was interrupted") from None
    found = {}
    for line in lines:
        digest, mark, name = line.partition("  ")
        if not mark or len(digest) != DIGITS or not plain(name):
            raise RefusedError(f"{SUMS} has an odd line: {line[:100]!r}")
        found[name] = digest
    if LIST not in found:
        raise RefusedError(f"{SUMS} does not name {LIST}")
    return found


def files(folder: str) -> dict[str, dict[str, Any]]:
    """{logical path: {"sha256", "size", "parts"}} of bundle.json."""
    with open(os.path.join(folder, LIST), encoding="utf-8") as handle:
        told = json.load(handle)
    if told.get("schema") != 1:
        raise RefusedError(f"{LIST} has schema {told.get('schema')!r}; this program reads 1")
    listed: dict[str, dict[str, Any]] = told["files"]
    for name, row in listed.items():
        if not plain(name) or not all(map(plain, row["parts"])):
            raise RefusedError(f"{LIST} names the unsafe path {name!r}")
    return listed


def state(path: str) -> list[int] | None:
    """What changes when a file does; None where it is missing, or is no plain file."""
    try:
        facts = os.lstat(path)
    except OSError:
        return None
    if os.path.islink(path) or not os.path.isfile(path):
        return None
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]


def now(folder: str, names: list[str]) -> dict[str, list[int] | None]:
    """{path: state}."""
    return {name: state(os.path.join(folder, name)) for name in names}


def wrong(folder: str, expected: dict[str, str], optional: set[str]) -> list[str]:
    """One phrase for each file that is not what SHA256SUMS says."""
    found = []
    for name, digest in sorted(expected.items()):
        path = os.path.join(folder, name)
        if state(path) is None:
            if name not in optional or os.path.lexists(path):
                found.append(f"{name} is missing")
        elif checksum([path]) != digest:
            found.append(f"{name} was altered")
    return found


def detours(folder: str, names: list[str]) -> list[str]:
    """One phrase for each link on the way to what is read, written or removed: it may lead out of the bundle."""
    found = {JOINED} if os.path.islink(os.path.join(folder, JOINED)) else set()
    for here, inner, _ in os.walk(os.path.join(folder, JOINED)) if not found else ():
        paths = [os.path.join(here, name) for name in inner]
        found |= {os.path.relpath(path, folder) for path in paths if os.path.islink(path)}
    steps = [name.split("/")[:-1] for name in names]
    ways = {"/".join(step[: deep + 1]) for step in steps for deep in range(len(step))}
    found |= {way for way in ways if os.path.islink(os.path.join(folder, way))}
    return [f"{name} is a link" for name in sorted(found)]


def below(folder: str) -> list[str]:
    """Paths of all files below a folder."""
    found = []
    for here, _, leaves in os.walk(folder):
        found += [os.path.relpath(os.path.join(here, leaf), folder) for leaf in leaves]
    return found


def join(folder: str, listed: dict[str, dict[str, Any]]) -> int:
    """Make ``joined`` hold the listed files; how many were written or removed."""
    root, done = os.path.join(folder, JOINED), 0
    for name in below(root):
        if name not in listed:
            os.unlink(os.path.join(root, name))
            done += name != SEEN
    for name, row in listed.items():
        target = os.path.join(root, name)
        pieces = [os.path.join(folder, piece) for piece in row["parts"]]
        if state(target) is not None and checksum([target]) == row["sha256"]:
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        write(pieces, target)
        if checksum([target]) != row["sha256"]:
            os.unlink(target)
            raise RefusedError(f"{name} does not come out of its parts as {LIST} lists it")
        done += 1
    return done


def write(pieces: list[str], target: str) -> None:
    """One file out of its pieces; a whole one is linked where the disk can, which takes no room."""
    scratch = target + ".part"
    if os.path.lexists(scratch):
        os.unlink(scratch)
    if not (len(pieces) == 1 and linked(pieces[0], scratch)):
        with open(scratch, "wb") as out:
            for piece in pieces:
                with open(piece, "rb") as handle:
                    shutil.copyfileobj(handle, out, BLOCK)
    os.replace(scratch, target)
    if os.path.lexists(scratch):
        os.unlink(scratch)  # rename(2) does nothing where both names are links to one file


def linked(path: str, target: str) -> bool:
    """Whether a second name could be made."""
    try:
        os.link(path, target)
    except OSError:
        return False
    return True


def look(folder: str, *, everything: bool, verify: bool) -> int:
    """Check, then join; how many files were joined."""
    expected = sums(folder)
    refuse(detours(folder, list(expected)))
    root = os.path.join(folder, JOINED)
    inside = [os.path.join(JOINED, name) for name in below(root) if name != SEEN]
    if not everything and now(folder, sorted({SUMS, *expected, *inside})) == remembered(root):
        return 0
    listed = checked(folder, expected, everything=everything)
    if verify:
        return 0
    there = {
        name: row for name, row in listed.items() if all(state(os.path.join(folder, piece)) for piece in row["parts"])
    }
    os.makedirs(root, exist_ok=True)
    done = join(folder, there)
    inside = [os.path.join(JOINED, name) for name in there]
    remember(root, now(folder, sorted({SUMS, *expected, *inside})))
    return done


def checked(folder: str, expected: dict[str, str], *, everything: bool) -> dict[str, dict[str, Any]]:
    """The files of bundle.json, once every file of SHA256SUMS is what it was."""
    refuse(wrong(folder, {LIST: expected[LIST]}, set()))
    listed = files(folder)
    pieces = {piece: name for name, row in listed.items() for piece in row["parts"]}
    refuse([f"{piece} is not in {SUMS}" for piece in pieces if piece not in expected])
    own = {piece for piece, name in pieces.items() if name.startswith("controller/")}
    absent = set() if everything else {*own, "install-controller.sh"}
    refuse(wrong(folder, expected, absent))
    return listed


def refuse(bad: list[str]) -> None:
    """Raise RefusedError where something is wrong."""
    if bad:
        raise RefusedError("; ".join(bad[:SHOWN]) + (f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""))


def remembered(root: str) -> object:
    """What was found right the last time."""
    try:
        with open(os.path.join(root, SEEN), encoding="utf-8") as handle:
            return json.load(handle)
    except (OSError, ValueError):
        return None


def remember(root: str, found: dict[str, list[int] | None]) -> None:
    """For the next time."""
    path = os.path.join(root, SEEN)
    with open(path + ".part", "w", encoding="utf-8") as handle:
        json.dump(found, handle)
    os.replace(path + ".part", path)


def forget(root: str) -> None:
    """What was right once is not trusted any more."""
    if os.path.islink(root):
        return
    try:
        os.unlink(os.path.join(root, SEEN))
    except OSError:
        return


def main(words: list[str]) -> None:
    """Exit status 0 where the bundle is right."""
    folders = [word for word in words if not word.startswith("--")]
    if len(folders) != 1 or set(words) - set(folders) - {"--verify", "--all"}:
        sys.exit("usage: check_bundle.py FOLDER [--verify] [--all]")
    try:
        done = look(folders[0], everything="--all" in words, verify="--verify" in words)
    except RefusedError as error:
        forget(os.path.join(folders[0], JOINED))
        sys.exit(f"the bundle {folders[0]} is refused: {error}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        sys.exit(f"the bundle {folders[0]} cannot be used: {error}")
    sys.stdout.write(f"joined {done} files\n" if done else "nothing to do\n")


if __name__ == "__main__":
    main(sys.argv[1:])
