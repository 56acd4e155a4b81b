"""Every error of labctl: its exit code, what happened, why, and the next command. Only cli.py catches them."""

from __future__ import annotations

EXIT_OK = 0
EXIT_RUN_FAILED = 1
EXIT_IO = 74  # EX_IOERR of sysexits.h: this machine's own files refused something
EXIT_DETACHED = 130


class LabError(Exception):
    """Base of all: ``str(error)`` is what happened, ``next_command`` what cures it (or an empty string)."""

    exit_code = 1

    def __init__(self, what: str, next_command: str = "") -> None:
        """``what``: one or two readable sentences; ``next_command``: a command to paste, if there is one."""
        super().__init__(what)
        self.next_command = next_command


class UsageError(LabError):
    """An unknown lab or argument, broken TOML, a value that no engine takes."""

    exit_code = 2


class HostUnknownError(LabError):
    """The inventory has no such host (or there is no readable inventory)."""

    exit_code = 3


class UnreachableError(LabError):
    """The host does not answer."""

    exit_code = 4


class HostKeyError(LabError):
    """The host's key is unknown or has changed."""

    exit_code = 5


class NotProvisionedError(LabError):
    """The host has no lab environment, a broken one, or another runner version."""

    exit_code = 6


class ProvisionError(LabError):
    """Ansible could not bring the host to its state."""

    exit_code = 7


class TransferError(LabError):
    """Bringing files to or from a host failed, or what arrived is not what was sealed."""

    exit_code = 8


class RunGoneError(TransferError):
    """The host answers, but has the run's directory no more: it was rebuilt, or someone removed it."""


class UnreadableRunError(LabError):
    """A run directory that is missing, incomplete, altered, or of a newer schema."""

    exit_code = 9


class LaunchError(LabError):
    """The runner could not be started on the host (a broken environment, a full disk); nothing was recorded."""

    exit_code = 11


class CouldNotCheckError(LabError):
    """``doctor`` or ``verify`` could not look at all (which says nothing about what they would have found)."""

    exit_code = 10


class ServerError(LabError):
    """A kept server that is not there, not ready, or did not do what it was asked."""

    exit_code = 12
