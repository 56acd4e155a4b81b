from __future__ import annotations

import pytest

from labctl.runner.redact import MASK, Redactor, unnamed
from tests.data import DATA


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("token hf_AbCdEfGhIjKlMnOpQrSt here", "hf_AbCdEfGhIjKlMnOpQrSt"),
        ("non-default args: {'api_key': ['topsecretvalue'], 'seed': 0}", "topsecretvalue"),
        ("serve --api-key topsecretvalue --port 1", "topsecretvalue"),
        ("--api-key=topsecretvalue", "topsecretvalue"),
        ("Authorization: Bearer abcdefgh.ijkl", "abcdefgh.ijkl"),
        ("https://user:pa55word@index.example/simple", "pa55word"),
        ("https://tokenonly12345@index.example/simple", "tokenonly12345"),
        ("sk-proj-0123456789abcdefgh", "0123456789abcdefgh"),
        ("the value is from-the-environment!", "from-the-environment"),
        ("the value is from-the-file", "from-the-file"),
    ],
)
def test_secrets_are_masked(text: str, secret: str) -> None:
    redact = Redactor({"MY_TOKEN": "from-the-environment"}, {"HF_TOKEN": "from-the-file"})
    masked = redact(text)
    assert secret not in masked
    assert MASK in masked


def test_what_is_no_secret_stays() -> None:
    redact = Redactor(
        {"PATH": "/usr/local/bin", "TOKENIZER_PATH": "max_tokens=100", "HF_TOKEN_PATH": "tokenizer false"}
    )
    text = "max_tokens=100 PATH=/usr/local/bin tokenizer false 1,071,136 tokens api_key=None"
    assert redact(text).startswith("max_tokens=100 PATH=/usr/local/bin tokenizer false 1,071,136 tokens")


def test_the_rest_of_an_argument_line_stays_readable() -> None:
    masked = Redactor({})("{'api_key': ['secretsecret'], 'model': 'm'}")
    assert masked == f"{{'api_key': {MASK}, 'model': 'm'}}"


def test_one_cards_own_numbers_are_masked_and_its_kind_stays() -> None:
    told = (DATA / "probe-h100" / "nvidia-smi-q.txt").read_text(encoding="utf-8")
    lines = unnamed(told).splitlines()
    assert f"    Serial Number                                      : {MASK}" in lines
    assert f"    GPU UUID                                           : GPU-0000{MASK}" in lines
    assert f"    GPU PDI                                            : {MASK}" in lines
    changed = [before for before, after in zip(told.splitlines(), lines, strict=True) if before != after]
    assert len(changed) == 3, "what says N/A, and every other line, stays"


def test_a_card_that_is_chosen_by_its_uuid_is_masked() -> None:
    uuid = "9b28889d-814d-af55-233b-e48729b142e3"
    assert unnamed(f"CUDA_VISIBLE_DEVICES=GPU-{uuid},MIG-{uuid.upper()}") == (
        f"CUDA_VISIBLE_DEVICES=GPU-9b28{MASK},MIG-9B28{MASK}"
    )


def test_what_a_model_is_asked_and_says_keeps_its_serial_numbers() -> None:
    said = '{"prompt":"Serial Number: 5","max_tokens":16}\nGPU-9b28889d-814d-af55-233b-e48729b142e3'
    assert Redactor({})(said) == said


@pytest.mark.parametrize("value", ["N/A", "[N/A]", ""])
def test_a_card_without_a_serial_number_stays_without(value: str) -> None:
    told = f"    Serial Number                                      : {value}\n    GPU UUID : N/A\n"
    assert unnamed(told) == told
