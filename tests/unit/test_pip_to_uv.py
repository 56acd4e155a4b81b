from __future__ import annotations

import configparser
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labctl import assets

if TYPE_CHECKING:
    from types import ModuleType


def _module() -> ModuleType:
    path = assets.folder("ansible") / "roles/python_env/files/pip_to_uv.py"
    spec = importlib.util.spec_from_file_location("pip_to_uv", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pip_to_uv = _module()

# As on a machine with folders in place of a network: two file indexes, wheels, a company's CA.
COMPANY = """
[global]
cert = /etc/ssl/certs/ca-certificates.crt
extra-index-url = file:///srv/one/simple
    file:///srv/two/simple
find-links = /srv/wheels /srv/more
; a comment
"""


def test_every_setting_reaches_uv_in_its_own_notation() -> None:
    added, flags = pip_to_uv.translate(pip_to_uv.options([COMPANY], {}), {})
    assert added == {
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
        "UV_INDEX": "file:///srv/one/simple file:///srv/two/simple",
        "UV_FIND_LINKS": "/srv/wheels,/srv/more",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert flags == []


def test_nothing_configured_adds_nothing() -> None:
    assert pip_to_uv.translate(pip_to_uv.options([], {"PATH": "/bin", "PIP_CERT": ""}), {}) == ({}, [])


def test_a_variable_wins_over_a_file_and_a_later_file_over_an_earlier() -> None:
    texts = ["[global]\nindex-url = https://a.example/simple\ntimeout = 5\n", "[global]\ntimeout = 7\n"]
    found = pip_to_uv.options(texts, {"PIP_INDEX_URL": "https://b.example/simple"})
    assert found == {"index-url": ["https://b.example/simple"], "timeout": ["7"]}


def test_the_section_of_install_wins_over_global_whatever_the_file() -> None:
    texts = ["[install]\nfind_links = /own\n", "[global]\nfind-links = /shared\n"]
    assert pip_to_uv.options(texts, {}) == {"find-links": ["/own"]}


def test_a_token_with_a_percent_sign_is_no_interpolation() -> None:
    found = pip_to_uv.options(["[global]\nindex-url = https://me:p%40ss%word@x.example/simple\n"], {})
    assert found["index-url"] == ["https://me:p%40ss%word@x.example/simple"]


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_what_the_user_set_for_uv_stays(name: str) -> None:
    found = {"index-url": ["https://a.example/simple"]}
    assert pip_to_uv.translate(found, {name: "https://mine.example/simple"}) == ({}, [])


def test_no_index_has_no_variable_in_uv_and_becomes_a_flag() -> None:
    assert pip_to_uv.translate({"no-index": ["true"]}, {}) == ({}, ["--no-index"])
    assert pip_to_uv.translate({"no-index": ["0"]}, {}) == ({}, [])


def test_home_is_written_out_because_no_shell_will() -> None:
    added, _ = pip_to_uv.translate({"find-links": ["~/wheels"]}, {})
    assert added == {"UV_FIND_LINKS": str(Path.home() / "wheels")}


def test_the_files_stand_in_pips_order() -> None:
    files = pip_to_uv.config_files({}, Path("/home/me"), Path("/opt/py"))
    assert [str(path) for path in files] == [
        "/etc/xdg/pip/pip.conf",
        "/etc/pip.conf",
        "/home/me/.pip/pip.conf",
        "/home/me/.config/pip/pip.conf",
        "/opt/py/pip.conf",
    ]


def test_a_named_file_replaces_the_users_own(tmp_path: Path) -> None:
    named = tmp_path / "pip.conf"
    named.write_text("", encoding="utf-8")
    files = pip_to_uv.config_files({"PIP_CONFIG_FILE": str(named)}, Path("/home/me"), Path("/opt/py"))
    assert files[-1] == named
    assert not any(str(path).startswith("/home/me") for path in files)


def test_dev_null_turns_every_file_off() -> None:
    assert pip_to_uv.config_files({"PIP_CONFIG_FILE": "/dev/null"}, Path("/home/me"), Path("/opt/py")) == []


def test_a_broken_file_is_an_error_that_quotes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    named = tmp_path / "pip.conf"
    named.write_text("https://me:secret@x.example/simple\n", encoding="utf-8")
    with pytest.raises(configparser.Error):
        pip_to_uv.options([named.read_text(encoding="utf-8")], {})
    monkeypatch.setenv("PIP_CONFIG_FILE", str(named))
    with pytest.raises(SystemExit, match="cannot be read") as error:
        pip_to_uv.main(["uv"])
    assert "secret" not in str(error.value)
