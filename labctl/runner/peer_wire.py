"""How the supervisors of one span speak: JSON lines, each signed with the run's own secret, none larger than a limit.

Strangers reach the port too. Without the secret nothing they send is ever read as a message; with both sides' nonces
and a counter in the signature, nothing that was once sent can be sent again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
import secrets
from typing import Any

_OPENING = re.compile(rb"labctl-peer 1 ([0-9a-f]{32})")
_SIGNED = re.compile(rb"([0-9a-f]{64}) (\{.*\})", re.DOTALL)
# Facts and packages of a machine take some 20 KiB; a stranger gets room for the opening and one small line.
LONGEST = 1024 * 1024
LONGEST_STRANGER = 4096
_DEEPEST = 30


class WireError(RuntimeError):
    """What came is not from a peer of this run; the message is one readable sentence."""


class Wire:
    """One end of a line, without its socket: bytes in, messages out, and the other way round."""

    def __init__(self, token: str, *, listener: bool) -> None:
        """``token``: the run's secret, the same on both ends; ``listener``: whether this end was called."""
        self._token, self._me, self._you = token.encode(), *((b"L", b"C") if listener else (b"C", b"L"))
        self._nonce = secrets.token_hex(16).encode()
        self._key = b""
        self._sent = self._received = 0
        self._rest = b""

    @property
    def open(self) -> bool:
        """Whether the other end's opening has come, so that something can be said to it."""
        return bool(self._key)

    @property
    def trusted(self) -> bool:
        """Whether the other end has shown that it knows the secret."""
        return self._received > 0

    def opening(self) -> bytes:
        """The first line of either end."""
        return b"labctl-peer 1 " + self._nonce + b"\n"

    def pack(self, message: dict[str, Any]) -> bytes:
        """A message as a signed line. Raises WireError before the other end's opening, and for one that is too long."""
        if not self._key:
            raise WireError("the other end has not said its opening yet")
        text = json.dumps(message, ensure_ascii=True).encode()
        if len(text) + 66 > LONGEST:
            raise WireError(f"a message of {len(text)} bytes is longer than {LONGEST}")
        signed = self._sign(self._me, self._sent, text) + b" " + text + b"\n"
        self._sent += 1
        return signed

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that are complete with these bytes. Raises WireError for whatever no peer would send."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = []
        for line in lines:
            if len(line) > (LONGEST if self.trusted else LONGEST_STRANGER):
                raise WireError("a line is too long")
            if self._key:
                found.append(self._message(line))
            else:
                self._agree(line)
        if len(self._rest) > (LONGEST if self.trusted else LONGEST_STRANGER):
            raise WireError("a line is too long")
        return found

    def _agree(self, line: bytes) -> None:
        said = _OPENING.fullmatch(line)
        if not said:
            raise WireError("it does not speak as a supervisor of labctl does")
        nonces = (self._nonce, said[1]) if self._me == b"L" else (said[1], self._nonce)
        self._key = hmac.digest(self._token, b"labctl-peer 1 " + b" ".join(nonces), hashlib.sha256)

    def _message(self, line: bytes) -> dict[str, Any]:
        parts = _SIGNED.fullmatch(line)
        if not parts or not hmac.compare_digest(parts[1], self._sign(self._you, self._received, parts[2])):
            raise WireError("it does not know the secret of this run")
        self._received += 1
        try:
            found = _plain(json.loads(parts[2]), _DEEPEST)
        except (ValueError, RecursionError) as error:
            raise WireError(f"it signed what is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise WireError("it signed what is no object")
        return found

    def _sign(self, who: bytes, number: int, text: bytes) -> bytes:
        return hmac.new(self._key, b"%s %d " % (who, number) + text, hashlib.sha256).hexdigest().encode()


def _plain(value: Any, deep: int) -> Any:
    """The value as every file and every reader of JSON can hold it: no half characters, no endless numbers.

    Raises WireError where it is nested more than ``deep`` levels.
    """
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, (dict, list)):
        return value
    if not deep:
        raise WireError("it signed what is nested too deeply")
    if isinstance(value, list):
        return [_plain(one, deep - 1) for one in value]
    return {_plain(key, 0): _plain(held, deep - 1) for key, held in value.items()}
