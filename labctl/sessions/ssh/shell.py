"""What is asked of a host: small scripts of POSIX sh, and the framing of their answers. No Python, no SFTP needed.

Names and numbers go to a script as arguments or on its standard input, never into its text.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, BinaryIO

from labctl.sessions import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# A login that prints (a banner in .bashrc) prints before this; what comes before is passed over.
MARK = b"\x1elabctl\x1e"
NOISE = 64 * 1024
NO_SUCH = 44
_SAY = r"printf '\036labctl\036'; "
_S_IFMT, _S_IFREG = 0o170000, 0o100000

RUN = 'exec "$@"'
CLAIM = f"""mkdir -p -- "$(dirname -- "$1")" || exit 1
mkdir -- "$1" 2>/dev/null && exit 0
[ -e "$1" ] && exit {NO_SUCH}
mkdir -- "$1" """
# A line that is cut ends the input early: only a whole file takes the target's place.
PUT = """umask 077
mkdir -p -- "$(dirname -- "$1")" || exit 1
cat > "$1.part" || { rm -f -- "$1.part"; exit 1; }
[ "$(wc -c < "$1.part")" -eq "$2" ] && chmod "$3" -- "$1.part" && mv -f -- "$1.part" "$1" && exit 0
rm -f -- "$1.part"
exit 1"""
# CDPATH, where a host's user exports it, would lead elsewhere and print where to.
NAMES = f'CDPATH= cd -- "$1" 2>/dev/null || exit {NO_SUCH}; ls -A'
WALK = f"""CDPATH= cd -- "$1" 2>/dev/null || exit {NO_SUCH}
find . ! -type d -exec stat -c '%f %s %n' {{}} +
echo end"""
BRING = """absent=
CDPATH= cd -- "$1" 2>/dev/null || absent=yes
while read -r offset limit && IFS= read -r name; do
  if [ "$absent" ]; then echo -
  elif [ -f "$name" ] && [ -r "$name" ]; then
    size=$(($(wc -c < "$name") - offset))
    [ "$size" -gt 0 ] || size=0
    [ "$size" -lt "$limit" ] || size=$limit
    echo "$size"
    [ "$size" -eq 0 ] || tail -c "+$((offset + 1))" -- "$name" | head -c "$size"
  elif [ -e "$name" ]; then echo "$name cannot be read" >&2; exit 1
  else echo -; fi
done
echo end"""
WAIT = f"""for _ in $(seq "$2"); do
  [ -e "$1" ] && exit 0
  sleep 0.2 2>/dev/null || sleep 1
done
[ -e "$1" ] || exit {NO_SUCH}"""


class GarbledError(Exception):
    """The answer is not in the form that the script gives it."""


def command(script: str, arguments: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """The one line for the login shell, whichever it is: only quoted words."""
    settings = ["env", *(f"{name}={value}" for name, value in env.items())] if env else []
    words = shlex.join([*settings, "sh", "-c", _SAY + _on_one_line(script), "labctl", *arguments])
    # Within single quotes fish takes a backslash for an escape; outside of them every shell does.
    return words.replace("\\", "'\\\\'")


def _on_one_line(script: str) -> str:
    """The script without line breaks, which csh takes for the end of a quoted word."""
    flat = ""
    for line in map(str.strip, script.splitlines()):
        flat += line if not flat else f" {line}" if flat.endswith((" do", " then")) else f"; {line}"
    return flat


def entries(text: str) -> list[Entry]:
    """Entries from the answer to WALK. Raises GarbledError: an odd name, or not whole."""
    *lines, end = text.split("\n")[:-1] or [""]
    if end != "end":
        raise GarbledError("the listing broke off")
    found = []
    for line in lines:
        try:
            mode, size, name = line.split(" ", 2)
            regular = int(mode, 16) & _S_IFMT == _S_IFREG
            # int() takes a sign as well, and what is counted up must not go down.
            found.append(Entry(name.removeprefix("./"), int(f"+{size}"), regular))
        except ValueError:
            raise GarbledError(f"the listing has an odd line: {line[:200]!r}") from None
    return found


class Frames:
    """Reads an answer of BRING: for each file its size on a line, then so many bytes."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """``read(n)`` gives between 1 and n bytes, none at the end."""
        self._read = read

    def line(self) -> str:
        """One short line. Raises GarbledError."""
        found = b""
        while not found.endswith(b"\n"):
            one = self._read(1)
            if not one or len(found) > 20:  # noqa: PLR2004 - more digits than any size has
                raise GarbledError("the answer broke off")
            found += one
        return found.decode("ascii", "replace").rstrip("\n")

    def size(self, limit: int) -> int | None:
        """Bytes that follow; None for a file that is not there. Raises GarbledError beyond ``limit``."""
        text = self.line()
        if text == "-":
            return None
        if not text.isdecimal() or int(text) > limit:
            raise GarbledError(f"it would send {text!r} bytes where at most {limit} were asked for")
        return int(text)

    def copy(self, size: int, writer: BinaryIO) -> None:
        """So many bytes into a file. Raises GarbledError where they are not all there."""
        while size:
            data = self._read(min(size, 1 << 18))
            if not data:
                raise GarbledError("the answer broke off")
            writer.write(data)
            size -= len(data)

    def end(self) -> None:
        """The answer's last line. Raises GarbledError."""
        if self.line() != "end":
            raise GarbledError("the answer is out of step: a file changed while it was read")
