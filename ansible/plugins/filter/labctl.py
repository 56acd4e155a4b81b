"""Ansible filters: labctl's own decisions, for playbooks. Ansible runs in labctl's environment, which has them."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError

from labctl import locks, plan
from labctl.errors import LabError


def labctl_plan(facts, wishes):
    """Give the plan for a host; a host that none fits fails with the sentence that says why."""
    try:
        return plan.make(facts, wishes)
    except LabError as error:
        raise AnsibleFilterError(str(error)) from error


def labctl_lock(text, chosen):
    """Give the entries of a lock that a plan installs, as the text of a lock."""
    try:
        return locks.filtered(text, chosen)
    except LabError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible asks for."""

    def filters(self):
        """Filters by name."""
        return {"labctl_plan": labctl_plan, "labctl_lock": labctl_lock}
