"""The report: one self-contained page rendered from a run directory. It computes no figure."""

from labctl.report.page import build, warm
from labctl.report.rerun import rerun_command

__all__ = ["build", "rerun_command", "warm"]
