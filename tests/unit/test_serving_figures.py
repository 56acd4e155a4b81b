from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.runner import figures, rundir
from labctl.runner.figures import serving

if TYPE_CHECKING:
    from pathlib import Path


# As a real run of the lab `server` wrote them, shortened.
ROWS: list[dict[str, Any]] = [
    {"call": 1, "name": "completion", "stream": False, "status": 200, "seconds": 1.784532, "ttft_s": None,
     "output_tokens": 50, "error": None},
    {"call": 2, "name": "chat", "stream": False, "status": 400, "seconds": 0.008008, "ttft_s": None,
     "error": "you must provide a chat template"},
    {"call": 3, "name": "openai-chat-stream", "stream": True, "status": 200, "seconds": 1.324372, "ttft_s": 0.076616,
     "output_tokens": 50, "error": None},
]  # fmt: skip


def write(run_dir: Path, text: str) -> Path:
    (run_dir / "api").mkdir(exist_ok=True)
    (run_dir / rundir.CALLS).write_text(text, encoding="utf-8", errors="surrogatepass")
    return run_dir


def test_each_call_has_its_figures(tmp_path: Path) -> None:
    found = serving.calls(write(tmp_path, "".join(json.dumps(row) + "\n" for row in ROWS)))
    assert {name: figure.value for name, figure in found.items()} == {
        "calls": 3, "refused_calls": 1,
        "status_call1": 200, "latency_call1": 1.784532, "output_tokens_call1": 50,
        "status_call2": 400, "latency_call2": 0.008008,
        "status_call3": 200, "latency_call3": 1.324372, "ttft_call3": 0.076616, "output_tokens_call3": 50,
    }  # fmt: skip
    assert found["refused_calls"].sources == ["api/calls.jsonl:2"]
    assert found["ttft_call3"].sources == ["api/calls.jsonl:3"]
    assert found["status_call2"].note == "chat: you must provide a chat template"


def test_a_run_without_calls_has_none(tmp_path: Path) -> None:
    assert serving.calls(tmp_path) == {}
    assert not [name for name in figures.compute(tmp_path) if "call" in name]


@pytest.mark.parametrize(("mode", "there"), [("server", False), ("offline", True)])
def test_passes_of_the_llm_class_are_figures_of_offline_runs_alone(tmp_path: Path, mode: str, *, there: bool) -> None:
    (tmp_path / rundir.SPEC).write_text(json.dumps({"mode": mode}))
    assert ("throughput" in figures.compute(tmp_path)) is there


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
rows = st.dictionaries(
    st.sampled_from(["call", "name", "status", "seconds", "ttft_s", "output_tokens", "error"]), plain
)


@given(st.lists(rows.map(json.dumps) | st.text()))
def test_whatever_a_host_sends_gives_numbers_with_a_source(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    found = serving.calls(write(tmp_path_factory.mktemp("run"), "\n".join(lines)))
    for name, figure in found.items():
        assert isinstance(figure.value, (int, float)), name
        assert all(source.startswith(rundir.CALLS) for source in figure.sources)
