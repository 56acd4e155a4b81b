"""What the templates show, made from a run: plain rows in the order of the page."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from labctl.report import cards, environment, outputs, sections
from labctl.report.amounts import number, seconds, size
from labctl.report.banners import banners, was_kept
from labctl.report.load import PROMPTS
from labctl.report.rerun import again
from labctl.report.sections import gpu
from labctl.report.shown import Shown
from labctl.report.text import clean, line
from labctl.runner.workloads import ServeBench

if TYPE_CHECKING:
    from labctl.report.load import Run
    from labctl.runner.spec import RunSpec

STATUS = {
    "ok": "finished", "failed": "failed", "stopped": "stopped", "lost": "lost", "running": "running",
    "unknown": "no record",
}  # fmt: skip
PARAMETERS = "parameters"
ROWS = 500  # artifacts, phases and adjustments shown


def view(run: Run) -> dict[str, Any]:
    """Everything that the templates name."""
    record, spec = run.record, run.spec
    artifacts = record.artifacts[:ROWS]
    anchors = {str(item.get("path")): f"artifact-{place}" for place, item in enumerate(artifacts)}
    of_run = Shown(run, anchors)
    made = sections.sections(of_run)
    of_gpu = gpu.section(of_run)
    shown, absent = cards.cards(record.metrics, anchors, run.kind)
    host = line(run.host or (record.nodes[0].get("name") if record.nodes else ""), 80)
    run_id = line(record.run_id, 160)
    converted = bool(record.supervisor.get("converted"))
    asked = record.model.get("requested") if record.model else None
    return {
        "lab": line(spec.lab, 80) if spec else "",
        "host": host,
        "model": line(asked or (asked_model(spec) if spec else None), 160),
        # To be stopped is how a kept server ends.
        "status": "ok" if was_kept(run.kind, record) else record.status,
        "status_word": STATUS.get(record.status, record.status),
        "utc": line(record.anchor.get("utc"), 40),
        "lasted": seconds(record.ended_s),
        "run_id": run_id,
        "banners": banners(run),
        "cards": shown,
        "absent": absent,
        "sections": made,
        "gpu": of_gpu,  # stands beside the machine's memory, not among what the run was for
        "others": cards.others(record.metrics, anchors, of_run.taken),
        "command": again(spec, line(run.host, 80) or "local", line(record.run_id, 160))
        if spec and not converted
        else [],
        "converted": converted,
        "phases": [_phase(phase, anchors) for phase in record.phases[:ROWS]],
        "has_engine": run.kind != PARAMETERS or bool(record.phases or run.samples),
        "has_outputs": bool(run.outputs) or run.kind == PROMPTS,
        "passes": outputs.passes(run.outputs, run.requests),
        "passes_cut": outputs.left_out(run.outputs),
        "asked": _asked(run),
        "adjusted": _adjusted(run),
        "nodes": [environment.node(node) for node in record.nodes[:8]],
        "artifacts": [_artifact(item, place) for place, item in enumerate(artifacts)],
        "artifacts_cut": max(0, len(record.artifacts) - ROWS),
        "notes": run.notes,
    }


def _phase(phase: dict[str, Any], anchors: dict[str, str]) -> dict[str, Any]:
    place = phase.get("source")
    return {
        "name": line(phase.get("name"), 60),
        "start": number(phase.get("start")),
        "seconds": number(phase.get("seconds")),
        "reported": number(phase.get("reported_s")),
        "source": cards.source(place, anchors) if place is not None else None,
    }


def _asked(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Group what was asked: the run, engine arguments, sampling arguments, environment."""
    spec = run.spec
    engine = (run.record.engine or {}).get("requested")
    if spec is None:
        return [("Engine arguments", environment.pairs(engine))]
    general = {
        "mode": spec.mode, "launcher": spec.launcher, "model": asked_model(spec), "vLLM": spec.vllm,
        "seed": spec.seed, "synthetic model allowed": spec.synthetic,
        "sha256 of spec.json": run.record.spec_sha256,
    }  # fmt: skip
    work = asdict(spec.workload)
    # The texts themselves stand with the outputs.
    work |= {name: len(work[name]) for name in ("prompts", "requests") if isinstance(work.get(name), (list, tuple))}
    groups = [
        ("Run", environment.pairs(general)),
        ("Workload", environment.pairs(work)),
        ("Server", environment.pairs(asdict(spec.server) if spec.server else {})),
        ("Span", environment.pairs(asdict(spec.span) if spec.span else {})),
        ("Engine arguments", environment.pairs(engine if isinstance(engine, dict) else spec.engine)),
        ("Sampling arguments", environment.pairs(spec.sampling)),
        ("Environment variables", environment.pairs(spec.env)),
    ]
    return [group for group in groups if group[1]]


def asked_model(spec: RunSpec) -> str:
    """The model that the spec asks for; that of another run's server is the server's."""
    server = spec.workload.server if isinstance(spec.workload, ServeBench) else ""
    return f"that of the server {server}" if server else spec.model


def _adjusted(run: Run) -> list[dict[str, str]]:
    rows = (run.record.engine or {}).get("adjusted")
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [
        {
            "key": line(row.get("key"), 80),
            "value": environment.value(row.get("value")),
            "why": clean(row.get("why"), 600),
        }
        for row in rows[:ROWS]
    ]


def _artifact(item: dict[str, Any], place: int) -> dict[str, Any]:
    return {
        "anchor": f"artifact-{place}",
        "kind": line(item.get("kind"), 40),
        "path": line(item.get("path"), 200),
        "size": size(item.get("size")),
        "sha256": line(item.get("sha256"), 80),
    }
