"""The same work on many hosts at once: a thread each, and one host's failure is that host's alone."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from labctl.errors import EXIT_IO, EXIT_OK, LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from labctl.inventory import Host

T = TypeVar("T")

_TICK_S = 0.1
# After Ctrl-C a start that is under way may still come through; nobody waits longer for it.
_LEAVE_S = 5.0


class LeftError(Exception):
    """The user went away (Ctrl-C) while a thread was following."""


@dataclass
class Outcome(Generic[T]):
    """What came of one host: a value or an error; neither where the user left before its end."""

    host: Host
    value: T | None = None
    error: Exception | None = None

    def result(self) -> T:
        """The value. Raises the error."""
        if self.error is not None:
            raise self.error
        return cast("T", self.value)

    @property
    def code(self) -> int:
        """The exit code for this host alone."""
        if self.error is None:
            return EXIT_OK
        return self.error.exit_code if isinstance(self.error, LabError) else EXIT_IO

    @property
    def next_command(self) -> str:
        """The command that cures the error; empty where there is none of either."""
        return self.error.next_command if isinstance(self.error, LabError) else ""


class Leave:
    """Told to every thread when the user goes away; knows which threads are in the midst of something."""

    def __init__(self) -> None:
        """Nobody has left yet."""
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._busy = 0

    def ask(self) -> None:
        """The user leaves."""
        with self._lock:
            self._event.set()

    def check(self) -> None:
        """Raise LeftError once the user has left."""
        if self._event.is_set():
            raise LeftError

    @contextmanager
    def busy(self) -> Iterator[None]:
        """What happens inside is waited for when the user leaves (a start that is under way)."""
        with self._lock:
            self.check()
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def wait(self, seconds: float) -> None:
        """Wait until nobody is busy any more, for so many seconds at most."""
        deadline = time.monotonic() + seconds
        while self._busy and time.monotonic() < deadline:
            time.sleep(_TICK_S)


def each(
    targets: Sequence[Host], action: Callable[[Host, Leave], T], tick: Callable[[], None] | None = None
) -> list[Outcome[T]]:
    """Do ``action`` for every host and give the outcomes in the hosts' order; ``tick`` is called all the while.

    LabError and OSError become outcomes, LeftError none; anything else is a defect and is raised once all are done.
    KeyboardInterrupt is told to the threads and passes once no thread is busy; no host is asked for anything.
    """
    outcomes = [Outcome[T](host) for host in targets]
    defects: list[BaseException] = []
    leave = Leave()

    def work(mine: Outcome[T]) -> None:
        try:
            mine.value = action(mine.host, leave)
        except (LabError, OSError) as error:
            mine.error = error
        except LeftError:
            return
        except BaseException as error:  # noqa: BLE001 - raised in the main thread below
            defects.append(error)

    threads = [threading.Thread(target=work, args=(mine,), daemon=True, name=mine.host.name) for mine in outcomes]
    try:
        _through(threads, tick)
    except KeyboardInterrupt:
        leave.ask()
        leave.wait(_LEAVE_S)
        raise
    if defects:
        raise defects[0]
    return outcomes


def _through(threads: Sequence[threading.Thread], tick: Callable[[], None] | None) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_TICK_S)
            if tick is not None:
                tick()
