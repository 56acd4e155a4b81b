"""What `labctl tunnel` prints, and the lines to paste in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

    from tests.e2e.conftest import Project


def tunnel(project: Project, *words: str) -> tuple[subprocess.Popen[str], str]:
    """A tunnel that is open, and what it printed by then."""
    process = project.start("tunnel", *words)
    assert process.stdout is not None
    said = ""
    while "choices[0]" not in said:
        line = process.stdout.readline()
        assert line, process.communicate()
        said += line
    return process, said


def pasted(said: str, first: str) -> str:
    """The lines from one that begins so to the next empty one."""
    return said[said.index(first) :].partition("\n\n")[0]
