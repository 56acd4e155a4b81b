"""Holds a program on a host in the midst of its work, so that a fault can be put at a known step of labctl's."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.e2e.conftest import until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.hosts.machine import Machine

# labctl's steps on a host, each by the program that it is about to run there, and what it has left behind by then.
CLAIM, SPEC, START, MIRROR, FETCH = "mkdir", "cat", "python", "find", "head"
_HOLD, _HELD = "/tmp/hold", "/tmp/held"  # noqa: S108 - on the test host
# First on the PATH of sshd's sessions. It holds the first one alone: who comes again passes.
_WRAPPER = f"""#!/bin/sh
wait_here() {{
  mv {_HOLD} {_HOLD}.now 2>/dev/null || return 0
  touch {_HELD}
  while [ -e {_HOLD}.now ]; do /bin/sleep 0.02; done
}}
{{body}}
"""
_AT_ONCE = 'wait_here\nexec {real} "$@"'
# `head -c SIZE` lets a part through first.
_PART = """real={real}; part={part}
[ "$2" -gt "$part" ] || exec $real "$@"
$real -c "$part"
wait_here
exec $real -c "$(($2 - part))\""""


def hold(machine: Machine, step: str, part: int = 0) -> AbstractContextManager[Held]:
    """The next one of a step waits: one of START, in the lab's own interpreter."""
    return held(machine, step, part=part, path=f"{machine.lab_dir}/env/bin/python" if step == START else "")


@contextmanager
def held(machine: Machine, program: str, *, part: int = 0, path: str = "") -> Iterator[Held]:
    """The next start of ``program`` (of ``path``, an interpreter) waits; of ``head`` after ``part`` bytes."""
    real = machine.shell(f"readlink -f $(command -v {program})").strip() if not path else f"{path}.real"
    body = (_PART if part else _AT_ONCE).format(real=real, part=part)
    place = path or f"/usr/local/bin/{program}"
    if path:
        machine.shell(f"cp -P {path} {path}.real && rm {path}")
    machine.write(place, _WRAPPER.replace("{body}", body).encode(), mode=0o755)
    machine.shell(f"rm -f {_HELD}; touch {_HOLD}; chmod 666 {_HOLD}; chmod 1777 /tmp")
    try:
        yield Held(machine)
    finally:
        machine.shell(f"rm -f {_HOLD} {_HOLD}.now {_HELD} {place}")
        if path:
            machine.shell(f"mv {path}.real {path}")


class Held:
    """Whether it is held, and how to let it go on."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def wait(self, process: subprocess.Popen[str]) -> None:
        """Until the program waits, for what ``process`` asked."""

        def there() -> bool:
            assert process.poll() is None, process.communicate()
            return self._machine.shell(f"ls {_HELD}", check=False).startswith(_HELD)

        until(there, within=30)

    def release(self) -> None:
        """Let it go on, if it still can."""
        self._machine.shell(f"rm -f {_HOLD}.now")
