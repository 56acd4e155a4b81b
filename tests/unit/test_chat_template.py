from __future__ import annotations

import json
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from labctl.runner import chat_template
from labctl.runner.failures import ServerError


def model(folder: Path, **config: object) -> dict[str, object]:
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return {"model": str(folder)}


def test_a_base_model_gets_ours_at_the_start_or_with_each_request(tmp_path: Path) -> None:
    engine = model(tmp_path, model_max_length=512)
    (flag,) = chat_template.choose("", engine, at_start=True).flags
    name, _, path = flag.partition("=")
    assert name == "--chat-template"
    assert Path(path).read_text(encoding="utf-8") == chat_template.ours()
    later = chat_template.choose("", engine, at_start=False)
    assert later == (chat_template.NAME, ("--trust-request-chat-template",))


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json", "tekken.json"])
def test_a_chat_model_keeps_its_own(tmp_path: Path, name: str) -> None:
    engine = model(tmp_path)
    (tmp_path / name).write_text("{}")
    assert chat_template.choose("", engine, at_start=True) == ("model", ())


def test_a_template_in_the_tokenizers_settings_is_its_own(tmp_path: Path) -> None:
    engine = model(tmp_path, chat_template="{{ messages }}")
    assert chat_template.choose("", engine, at_start=True) == ("model", ())


def test_the_tokenizer_of_another_folder_counts(tmp_path: Path) -> None:
    plain, chatty = tmp_path / "plain", tmp_path / "chatty"
    for folder in (plain, chatty):
        folder.mkdir()
    engine = {**model(plain), "tokenizer": model(chatty, chat_template="x")["model"]}
    assert chat_template.choose("", engine, at_start=True).name == "model"


def test_none_is_none_and_a_path_is_that_file(tmp_path: Path) -> None:
    engine = model(tmp_path)
    assert chat_template.choose("none", engine, at_start=True) == ("none", ())
    mine = tmp_path / "mine.jinja"
    mine.write_text("x")
    assert chat_template.choose(str(mine), engine, at_start=True) == (str(mine), (f"--chat-template={mine}",))
    with pytest.raises(ServerError, match="there is no chat template /no/such on the host"):
        chat_template.choose("/no/such", engine, at_start=True)


def test_broken_settings_have_no_template(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": ')
    assert not chat_template.brings(str(tmp_path))


def test_what_ours_makes_of_a_chat() -> None:
    # The environment that transformers renders chat templates in (utils/chat_template_utils.py, 5).
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(chat_template.ours())
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}]
    assert made.render(messages=chat, add_generation_prompt=True) == "System: Be brief.\nUser: Hello!\nAssistant:"
    assert made.render(messages=chat, add_generation_prompt=False) == "System: Be brief.\nUser: Hello!\n"
