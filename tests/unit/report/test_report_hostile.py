"""A host that sends anything at all: the page is built, and nothing in it acts."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labctl.report.page import build
from labctl.report.render import DRAWINGS
from labctl.runner.record import RecordError
from labctl.runner.spec import SpecError
from tests.unit.report.report_page_checks import check

if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[Any, Any], Any]

GOOD = Path(__file__).parents[2] / "data" / "runs" / "cpu-offline"
MARK = "zq7"  # stands in every evil text: the proof that it reached the page as text
TEXTS = [
    f"<script>alert('{MARK}')</script>",
    f"\"'><img src=http://evil.example/{MARK} onerror=alert(1)>",
    f"</pre></style></svg></title><iframe src=//{MARK}>",
    f"\x1b[2J\x1b]0;{MARK}\x07\0\u202e{MARK}\u2066\x9b31m",
    f"{MARK} | ` ``` ```` [l](javascript:alert(1)) <https://e.example> **b** \n# h\n- i",
    f"{{{{ 7 * 7 }}}} {{% raw %}} $\\frac{{1}}{{2}}$ ]]> --> {MARK} \ud800",
    f"{MARK}" * 3_000,
]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0.1,
    1e308,
    -1e308,
    10**400,
    float("nan"),
    float("inf"),
    [],
    {},
    [[[]]],
    {"<b>": [{"<i>": "<u>"}]},
]


def everywhere(data: object, evil: object, *, top: bool = True) -> object:
    """The data with each plain value replaced, and with an evil key beside the known ones."""
    if isinstance(data, dict):
        changed = {key: everywhere(value, evil, top=False) for key, value in data.items()}
        return changed if top or not isinstance(evil, str) else {**changed, evil: {"value": evil}}
    if isinstance(data, list):
        return [everywhere(item, evil, top=False) for item in data]
    return evil


def one_level(data: dict[str, Any], evil: object) -> dict[str, object]:
    """Objects in lists and objects of the record with each field replaced, whatever it held."""
    changed: dict[str, object] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            changed[key] = {
                name: dict.fromkeys(held, evil) if key == "metrics" else evil for name, held in value.items()
            }
        elif isinstance(value, list):
            changed[key] = [dict.fromkeys(item, evil) for item in value]
        else:
            changed[key] = value
    return changed


def run_with(tmp_path: Path, evil: object, change: Change) -> Path:
    run = tmp_path / "run"
    shutil.copytree(GOOD, run)
    record = json.loads((run / "record.json").read_text())
    record["error"] = {"kind": "x", "phase": "x", "message": "x", "exit": 1, "log_tail": ["x", "y"]}
    kept = {key: record[key] for key in ("schema", "status")}
    record = {**change(record, evil), **kept}
    for key in ("run_id", "spec_sha256"):
        record[key] = evil if isinstance(evil, str) else "x"
    (run / "record.json").write_text(json.dumps(record))
    for name in ("outputs.jsonl", "requests.jsonl"):
        lines = (run / name).read_text().splitlines()
        replaced = [json.dumps(dict.fromkeys(json.loads(line), evil)) for line in lines]
        (run / name).write_text("\n".join([*replaced, "[1]", "not json", "[" * 50_000]))
    header, *rows = (run / "samples.csv").read_text().splitlines()
    cell = str(evil)[:5000].replace("\n", " ").encode("utf-8", "replace").decode()
    bad = ["".join(f"{cell}," for _ in header.split(",")), "nan," * 15, "1e999," * 15, "0.1"]
    (run / "samples.csv").write_text("\n".join([header, *rows[:50], *bad]))
    spec = json.loads((run / "spec.json").read_text())
    if isinstance(evil, str):
        spec |= {"lab": evil, "model": evil, "engine": {evil[:99]: evil}, "env": {evil[:99]: evil}}
        spec["workload"]["prompts"] = [evil]
    (run / "spec.json").write_text(json.dumps(spec))
    return run


@pytest.mark.parametrize("change", [everywhere, one_level])
@pytest.mark.parametrize("evil", TEXTS, ids=[f"text{n}" for n in range(len(TEXTS))])
def test_evil_text_is_only_text(tmp_path: Path, evil: object, change: Change) -> None:
    inert(build(run_with(tmp_path, evil, change)))


def inert(page: Path) -> None:
    """The mark is there as text, and nothing in the page, its Markdown and its drawings acts."""
    html = page.read_text(encoding="utf-8")
    assert MARK in check(html).text
    assert len(html) < 20_000_000
    markdown = outside_fences(page.with_suffix(".md").read_text(encoding="utf-8"))
    assert not re.search(r"<(?!/?(details|summary)>)", markdown)
    assert not re.search(rf"https?:|(?<!\\)\]\((?!({'|'.join(DRAWINGS)})\.svg)", markdown)
    for plot in page.parent.glob("*.svg"):
        assert not re.search("<script|onerror|<iframe|<img", plot.read_text(encoding="utf-8"))


def outside_fences(markdown: str) -> str:
    return re.sub(r"^(`{3,})text\n.*?^\1$", "", markdown, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("change", [everywhere, one_level])
@pytest.mark.parametrize("evil", VALUES, ids=[f"value{n}" for n in range(len(VALUES))])
def test_a_value_of_any_type_is_no_crash(tmp_path: Path, evil: object, change: Change) -> None:
    check(build(run_with(tmp_path, evil, change)).read_text(encoding="utf-8"))


def test_a_hostile_spec_is_an_error_of_its_own(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(GOOD, run)
    spec = json.loads((run / "spec.json").read_text())
    for wrong in (
        {"sampling": [1]},
        {"engine": 5},
        {"env": "x"},
        {"lab": 5},
        {"lab": None},
        {"model": {"a": 1}},
    ):
        (run / "spec.json").write_text(json.dumps({**spec, **wrong}))
        with pytest.raises(SpecError):
            build(run)


def test_a_record_nested_too_deep_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text("[" * 200_000)
    with pytest.raises(RecordError):
        build(tmp_path)


def test_links_are_not_followed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(GOOD, run)
    (run / "outputs.jsonl").unlink()
    (tmp_path / "secret").write_text('{"pass": 0, "output": "top secret"}\n')
    (run / "outputs.jsonl").symlink_to(tmp_path / "secret")
    html = build(run).read_text(encoding="utf-8")
    assert "top secret" not in html
    assert "outputs.jsonl is not in the run directory." in html
