"""What a run generated, cut for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.report.sections import calls
from labctl.report.text import clean, line

if TYPE_CHECKING:
    from labctl.report.load import Run

WIDTH = 78  # of a line: a terminal of 80 columns
TEXT, TEXTS = 400, 12  # characters of one, and how many


def cut(text: str, width: int = WIDTH) -> str:
    """One line, cut with an ellipsis."""
    whole = line(text, 4 * width)
    return whole if len(whole) <= width else f"{whole[: width - 1]}…"


def first_text(run: Run) -> str:
    """The first measured output beside its prompt; "" where none was recorded."""
    measured = (row for row in run.outputs if not row.get("warmup"))
    row = next(measured, run.outputs[0] if run.outputs else None)
    if row is None or row.get("output") is None:
        return ""
    prompt = cut(clean(row.get("prompt"), 200), 30)
    noise = " (random weights: noise)" if (run.record.model or {}).get("synthetic") is True else ""
    head = f"first text{noise}: {prompt} → "
    return head + cut(clean(row.get("output"), 400), max(20, WIDTH - len(head)))


def texts(run: Run) -> list[str]:
    """What was generated, for reading: prompt and output of the first measured pass, or the calls and their answers."""
    if run.kind == "requests":
        rows = run.raw.rows(calls.CALLS)
        found = [(calls.name_of(row), calls.answer_of(row)) for row in rows]
    else:
        of_tutorial = [row for row in run.outputs if row.get("phase") == "tutorial"]
        measured = of_tutorial or [row for row in run.outputs if not row.get("warmup")] or run.outputs
        first = [row for row in measured if row.get("pass") == measured[0].get("pass")]
        found = [(clean(row.get("prompt"), 200), clean(row.get("output"), 2000)) for row in first]
    said = [f"{cut(asked)}\n    {cut(answer or '(empty)', TEXT)}" for asked, answer in found[:TEXTS]]
    return [*said, f"{len(found) - TEXTS} more"] if len(found) > TEXTS else said
