"""Ansible callback: JSON lines for labctl/provision_events.py, to the descriptor LABCTL_EVENTS_FD."""

from __future__ import annotations

import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: labctl_events
type: notification
short_description: Task progress as JSON lines, for labctl
description: Writes what began and how it ended to an inherited file descriptor; silent without one.
"""


class CallbackModule(CallbackBase):
    """Beside the usual output, which stays for the log."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "labctl_events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        """Find the descriptor."""
        super().__init__()
        self._fd = int(os.environ.get("LABCTL_EVENTS_FD", "-1"))

    def _tell(self, event, **more):
        if self._fd >= 0:
            os.write(self._fd, (json.dumps({"event": event, **more}, default=str) + "\n").encode())

    def _result(self, status, result):
        if result._task.action.endswith("include_tasks"):
            return
        data = result._result
        message = data.get("msg") or data.get("reason") or ""
        details = data.get("stderr") or data.get("module_stderr") or ""
        self._tell(
            "result",
            status=status,
            task=result._task.get_name(),
            msg=str(message),
            stderr=str(details)[-4000:],
            note=result._task.action.endswith("debug"),
        )

    def v2_playbook_on_task_start(self, task, is_conditional):
        """Tell that a task begins."""
        self._tell("task", task=task.get_name())

    def v2_runner_on_ok(self, result):
        """Tell how a task ended."""
        self._result("changed" if result.is_changed() else "ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Tell that a task failed."""
        self._result("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result):
        """Tell that the host does not answer."""
        self._result("unreachable", result)

    def v2_runner_on_skipped(self, result):
        """Tell that a task did not apply."""
        self._result("skipped", result)

    def v2_playbook_on_stats(self, stats):
        """Tell the sums."""
        self._tell("stats", hosts={host: stats.summarize(host) for host in sorted(stats.processed)})
