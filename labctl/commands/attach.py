"""``labctl attach``: follow a run that was left."""

from __future__ import annotations

from labctl.commands.options import RunArgument


def attach(run: RunArgument = None) -> None:
    """Follow a run to its end, fetch it and build its report.

    Example: labctl attach
    """
    from labctl import runs
    from labctl.commands.options import project
    from labctl.commands.remote import finish, follow_to_end, line_to
    from labctl.runner import rundir

    path = runs.find(project().runs_dir, run)
    if (path / rundir.SUMS).is_file() and not runs.check_sums(path):
        finish(path)  # it is here, whole: the host may be gone
        return
    with line_to(run) as where:
        follow_to_end(where)
