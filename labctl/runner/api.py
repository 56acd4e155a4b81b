"""A server that is asked what the tutorial asks: each call as it went over the wire, and what came of it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from labctl.runner import calls, chat_template, ending, rundir
from labctl.runner.events import mask, read
from labctl.runner.failures import ServerError
from labctl.runner.recorder import Recorder
from labctl.runner.redact import Redactor
from labctl.runner.serving import healthy, serving
from labctl.runner.workloads import Requests

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner.events import Events
    from labctl.runner.serving import Endpoint
    from labctl.runner.spec import RunSpec

FOLDER = "api"
_REFUSED, _BROKEN = 400, 500


def run(asked: RunSpec, run_dir: Path, events: Events) -> None:
    """Start a server, send the workload's requests in order, keep all, stop it.

    A status of 4xx is an answer like any other. Raises ServerError where a call got none.
    """
    work = asked.workload
    assert isinstance(work, Requests)  # noqa: S101 - the worker chooses by the kind
    # With requests, so that the first chat goes out as the tutorial sends it, and meets what the tutorial meets.
    with serving(asked, run_dir, events, template_at_start=False) as endpoint:
        caller = Caller(endpoint, run_dir, events, sampling=asked.sampling)
        for one in work.requests:
            caller.call(one)


class Caller:
    """Sends requests one after another and numbers them."""

    def __init__(
        self, endpoint: Endpoint, run_dir: Path, events: Events, sampling: dict[str, Any] | None = None
    ) -> None:
        """``sampling``: laid over each request."""
        self._endpoint, self._run_dir, self._events = endpoint, run_dir, events
        self._sampling = sampling or {}
        served = ending.last(read(run_dir), "server") or {}
        # Without it, vLLM would refuse a template that comes with a request.
        self._ours = served.get("chat_template") == chat_template.NAME
        self._template = ""
        self._number = 0
        self._redact = Redactor(os.environ, {"key": endpoint.key})
        (run_dir / FOLDER).mkdir(exist_ok=True)

    def call(self, one: dict[str, Any]) -> None:
        """Send one request of the workload; a chat that is refused for want of a template once more, with ours."""
        row = self._send(one)
        if self._ours and not self._template and lacks_template(row):
            self._template = chat_template.ours()
            self._events.emit("chat_template", name=chat_template.NAME, given="request", text=self._template)
            self._send(one)

    def _send(self, one: dict[str, Any]) -> dict[str, Any]:
        api, by = one.get("api", "completion"), one.get("by", "http")
        sent = calls.body(one, self._endpoint.model, self._sampling)
        with_ours = api == "chat" and bool(self._template)
        if with_ours:
            sent["chat_template"] = self._template
        self._number += 1
        name = "-".join(["openai"] * (by == "openai") + [api] + ["stream"] * bool(one.get("stream")))
        stem = f"{FOLDER}/{self._number:02d}-{name}"
        with self._events.during("call", number=self._number, name=name) as told:
            with Recorder(self._endpoint) as recorder:
                found = calls.send(self._endpoint, recorder, by, api, sent)
            recorder.keep(self._run_dir / stem, self._redact)
            row = {"call": self._number, "name": name, "by": by, "api": api, "stream": bool(one.get("stream")), **found}
            row |= {"chat_template": chat_template.NAME if with_ours else None, "file": stem}
            self._keep(row)
            told["status"] = found["status"]
            if found["status"] is None or (found["status"] >= _BROKEN and not healthy(self._endpoint)):
                # Within the phase, so that the record names it. A dead server is serving()'s to tell of.
                raise ServerError(f"call {self._number} ({name}) got no answer: {found['error']}")
        return row

    def _keep(self, row: dict[str, Any]) -> None:
        with (self._run_dir / rundir.CALLS).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(mask(row, self._redact), ensure_ascii=False) + "\n")


def lacks_template(row: dict[str, Any]) -> bool:
    """Whether a chat was refused because the model has no chat template.

    vLLM passes on what transformers says (vllm/renderers/hf.py, 0.32.0): "... chat template ...".
    """
    return row["api"] == "chat" and row["status"] == _REFUSED and "chat template" in str(row["error"]).lower()
