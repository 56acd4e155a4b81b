"""What was recorded once, for tests."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent
