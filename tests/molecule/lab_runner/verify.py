"""The lab program in its environment, and the card."""

from __future__ import annotations

import json
from typing import Any


def test_the_lab_program_is_the_one_that_was_sent(host: Any) -> None:
    card = json.loads(host.file("/root/labctl/lab.json").content_string)
    listed = host.check_output(
        "/root/labctl/env/bin/python -I -c 'import importlib.metadata as m; print(m.version(\"labctl-runner\"))'"
    )
    assert listed == card["runner"]
