"""API keys on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labctl import api_keys, runs
from labctl.errors import UsageError
from labctl.runner import spec

if TYPE_CHECKING:
    from pathlib import Path


def test_a_made_key_can_be_sent_and_read_back(tmp_path: Path) -> None:
    key = api_keys.made()
    assert key != api_keys.made()
    path = api_keys.keep(tmp_path, "gpu1", "r1", key)
    assert [one.stat().st_mode & 0o777 for one in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]
    assert api_keys.of_file(path) == key == api_keys.kept(tmp_path, "gpu1", "r1")
    assert api_keys.kept(tmp_path, "gpu2", "r1") == "", "one host's key is no other host's"
    api_keys.forget(tmp_path, "gpu1", "r1")
    api_keys.forget(tmp_path, "gpu1", "r1")
    assert api_keys.kept(tmp_path, "gpu1", "r1") == ""
    assert list((tmp_path / ".labctl" / "keys").iterdir()) == []


@pytest.mark.parametrize("host", ["..", ".", "../../x", "a/b", "gpu1.example.org"])
def test_a_hosts_name_is_one_folder(tmp_path: Path, host: str) -> None:
    path = api_keys.place(tmp_path, host, "r1")
    assert path.parent.parent == tmp_path / ".labctl" / "keys"
    assert path.parent.name not in {".", ".."}


def test_the_keys_of_sealed_runs_are_swept(tmp_path: Path) -> None:
    asked = spec.from_dict({"lab": "server", "model": "m", "workload": {"kind": "hold"}})
    for run in ("sealed", "going"):
        runs.create(tmp_path / "runs", run, "gpu1", f"/lab/runs/{run}", asked)
    (tmp_path / "runs" / "sealed" / "SHA256SUMS").touch()
    for host, run in (("gpu1", "sealed"), ("gpu1", "going"), ("gpu2", "sealed"), ("gpu1", "started-elsewhere")):
        api_keys.keep(tmp_path, host, run, "k" * 20)
    api_keys.sweep(tmp_path, tmp_path / "runs")
    left = sorted(str(path.relative_to(tmp_path / ".labctl" / "keys")) for path in tmp_path.glob(".labctl/keys/*/*"))
    assert left == ["gpu1/going", "gpu1/started-elsewhere", "gpu2/sealed"]


def test_nothing_to_sweep(tmp_path: Path) -> None:
    api_keys.sweep(tmp_path, tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("a-key-that-is-long-enough", 0o640, "others may read"),
        ("short", 0o600, "holds no API key"),
        ("", 0o600, "holds no API key"),
        ("a key with blanks in it", 0o600, "holds no API key"),
        ("a-key-that-is-long\nand-a-second-line", 0o600, "holds no API key"),
        ("ein-schlüssel-mit-umlaut", 0o600, "cannot read an API key"),
    ],
)
def test_what_is_no_key(tmp_path: Path, text: str, mode: int, words: str) -> None:
    path = tmp_path / "key"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    with pytest.raises(UsageError, match=words) as caught:
        api_keys.of_file(path)
    assert len(text) < 8 or text not in str(caught.value)


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        api_keys.of_file(tmp_path / "none")
