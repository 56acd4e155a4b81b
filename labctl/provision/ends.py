"""How a provision fails: the error for each end, worded for who has to cure it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labctl.errors import HostKeyError, LabError, ProvisionError, UnreachableError
from labctl.provision.events import NEED_PASSWORD
from labctl.sessions import open_session

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.inventory import Host
    from labctl.provision.events import Failure

# The task that fails where sudo refuses the password that was given.
TRY_PASSWORD = "system_packages : Try the sudo password"  # noqa: S105 - a task's name
# sudo's refusal of a user, whatever the password.
_MAY_NOT = re.compile("sudoers|not allowed|may not run")
# What Ansible says before a variable that is not what the role's argument_specs ask for.
_WRONG_TYPE = re.compile(r"Validation of arguments failed:.*?(?=argument '|value of |$)")
# Tasks that fail with a sentence of their own, which names the cure.
_SAYS_ALL = re.compile("(Need|Refuse|Decide) ")
# All that ssh says where a jump host's ssh failed: that one's own words are lost where connections are shared.
_BEHIND = "Connection closed by UNKNOWN port 65535"


class SudoPasswordNeeded(ProvisionError):  # noqa: N818 - a question more than an error
    """Packages are missing, and sudo on the host would install them for a password. Nothing was changed yet."""


def error(host: Host, failure: Failure, log: Path) -> LabError:
    """The error for a failure, worded for who has to cure it."""
    if failure.unreachable:
        return _line_error(host, failure.message)
    again = f"labctl provision {host.name} --ask-become-pass"
    if failure.task == NEED_PASSWORD:
        return SudoPasswordNeeded(f"{host.name}: {failure.message}", again)
    if failure.task == TRY_PASSWORD:
        said = failure.details[-1] if failure.details else failure.message
        if _MAY_NOT.search(said):
            what = f"sudo on {host.name} does not let this user install packages: {said}"
            return ProvisionError(what, f"labctl doctor --host {host.name}")
        return ProvisionError(f"sudo on {host.name} did not take the password: {said}", again)
    if _WRONG_TYPE.match(failure.message):
        role, what = failure.task.partition(" : ")[0], _WRONG_TYPE.split(failure.message)[-1]
        return ProvisionError(f"{host.name}: a variable of the role {role} cannot be what it is: {what}")
    next_command = "" if _SAYS_ALL.match(failure.task.rpartition(" : ")[2]) else f"labctl doctor --host {host.name}"
    return ProvisionError(f"provisioning {host.name} failed: {failure}\nThe whole log: {log}", next_command)


def _line_error(host: Host, said: str) -> LabError:
    """The error for a host that ssh could not work with, from its last words."""
    if " has changed" in said:
        return HostKeyError(f"the key of {host.name} is not the one that is known: {said}")
    if "Host key verification failed" in said:
        return HostKeyError(f"the key of {host.name} is not known: {said}", f"labctl hosts trust {host.name}")
    known = _of_own_line(host) if _BEHIND in said else None
    return known or UnreachableError(f"{host.name} cannot be reached: {said}", f"labctl doctor --host {host.name}")


def _of_own_line(host: Host) -> LabError | None:
    """What labctl's own connection to the host meets, if anything."""
    try:
        with open_session(host):
            return None
    except LabError as error:
        return error
