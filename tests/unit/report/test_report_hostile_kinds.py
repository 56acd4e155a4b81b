"""The raw files of every kind of run, holding anything at all: the page is built, and nothing in it acts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from labctl.report import brief, excerpts, load, study
from labctl.report.page import build
from tests.unit.report import made_runs
from tests.unit.report.report_page_checks import check
from tests.unit.report.test_report_hostile import MARK, TEXTS, VALUES, inert

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[Path], Path]

KEPT = {"spec.json", "record.json", "SHA256SUMS"}
# What names a row must stay for the row to be looked at.
NAMES = {"event", "phase", "way", "line"}


def replaced(data: object, evil: object) -> object:
    """The data with each value in it replaced, but for what says which row it is."""
    if isinstance(data, dict):
        return {key: value if key in NAMES else replaced(value, evil) for key, value in data.items()}
    if isinstance(data, list):
        return [replaced(item, evil) if isinstance(item, (dict, list)) else evil for item in data]
    return evil


def spoil(run: Path, evil: object) -> None:
    """Put ``evil`` into every raw file of a run, in its own format, and lines that are none behind it."""
    for path in [path for path in run.rglob("*") if path.is_file() and path.name not in KEPT]:
        if path.suffix == ".jsonl":
            rows = [json.dumps(replaced(json.loads(line), evil)) for line in path.read_text().splitlines()]
            path.write_text("\n".join([*rows, "[1]", "no json", "[" * 5_000]))
        elif path.suffix == ".json":
            path.write_text(json.dumps(replaced(json.loads(path.read_text()), evil)))
        else:
            body = str(evil).encode("utf-8", "replace")
            path.write_bytes(b"HTTP/1.1 200 " + body + b"\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n" + body)


def spoil_record(run: Path, evil: object) -> None:
    """Figures that have the names of this kind and hold ``evil``; nodes, too."""
    told = json.loads((run / "record.json").read_text())
    told["metrics"] = {name: dict.fromkeys(held, evil) for name, held in told["metrics"].items()}
    told["nodes"] = [dict.fromkeys(node, evil) for node in told["nodes"]] + [{"name": evil, "log_tail": [evil]}] * 2
    (run / "record.json").write_text(json.dumps(told))


def everything(run: Path) -> Path:
    """Page and terminal lines of a run."""
    page = build(run)
    read = load.read(run)
    assert all(
        "\x1b" not in str(said) and "\u202e" not in str(said) for said in [*brief.brief(read), *excerpts.texts(read)]
    )
    return page


@pytest.mark.parametrize("make", made_runs.KINDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("evil", TEXTS, ids=[f"text{n}" for n in range(len(TEXTS))])
def test_evil_text_in_raw_files_is_only_text(tmp_path: Path, make: Make, evil: str) -> None:
    run = make(tmp_path / "run")
    spoil(run, evil)
    spoil_record(run, evil)
    inert(everything(run))


@pytest.mark.parametrize("make", made_runs.KINDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("evil", VALUES, ids=[f"value{n}" for n in range(len(VALUES))])
def test_a_value_of_any_type_in_raw_files_is_no_crash(tmp_path: Path, make: Make, evil: object) -> None:
    run = make(tmp_path / "run")
    spoil(run, evil)
    spoil_record(run, evil)
    check(everything(run).read_text(encoding="utf-8"))


@pytest.mark.parametrize("make", made_runs.KINDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("held", [b"\0\xff\xfe", b"[" * 100_000, b"{}"])
def test_a_mangled_file_is_said_or_left_out(tmp_path: Path, make: Make, held: bytes) -> None:
    run = make(tmp_path / "run")
    for path in [path for path in run.rglob("*") if path.is_file() and path.name not in KEPT]:
        path.write_bytes(held)
    check(everything(run).read_text(encoding="utf-8"))


def test_a_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    run = made_runs.server(tmp_path / "run")
    elsewhere = (run / "api").rename(tmp_path / "elsewhere")
    (run / "api").symlink_to(elsewhere)
    page = everything(run).read_text(encoding="utf-8")
    assert "PagedAttention is" not in page
    assert "api/calls.jsonl is not in the run directory." in page


@pytest.mark.parametrize("evil", [*TEXTS, *VALUES])
def test_a_study_of_anything_is_inert(tmp_path: Path, evil: object) -> None:
    path = made_runs.study(tmp_path)
    told = json.loads(path.read_text())
    spoil_record(tmp_path / "runs" / "r1", evil)
    for place, point in enumerate(told["points"]):
        point["values"] = dict.fromkeys(point["values"], evil) if place % 2 else evil
        point["error"] = evil
        point["run"] = [evil, "../../etc", "r1"][place % 3]
    told |= {"lab": evil, "host": evil, "made_utc": evil}
    path.write_text(json.dumps(told))
    page = study.build(path)
    if isinstance(evil, str):
        inert(page)
    check(page.read_text(encoding="utf-8"))
    for axes in (evil, [evil], [[evil, [evil, 1]]]):
        path.write_text(json.dumps({**told, "vary": axes}))
        check(study.build(path).read_text(encoding="utf-8"))


def test_a_study_that_is_none_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        study.build(tmp_path / "studies" / "none.json")
    (tmp_path / "none.json").write_text(MARK)
    assert "none.json holds no JSON object." in study.build(tmp_path / "none.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("evil", [*TEXTS, *VALUES[:10]])
def test_a_span_of_anything_in_the_spec_is_inert(tmp_path: Path, evil: object) -> None:
    run = made_runs.span(tmp_path / "run")
    spec = json.loads((run / "spec.json").read_text())
    spec["span"] |= {"hosts": [evil, evil], "addresses": [evil, evil], "runs": [evil, evil]}
    (run / "spec.json").write_text(json.dumps(spec))
    check(everything(run).read_text(encoding="utf-8"))
