"""What becomes of one request, over real sockets: whatever the other side does is in its row."""

from __future__ import annotations

import json
import time

import pytest

from labctl.runner import load, ports
from labctl.runner.arguments import ArgumentError
from labctl.runner.serving import Endpoint
from tests.integration.test_wire import HEAD, JSON, chunk, peer

ASKED = load.Asked([300, 301, 302], 2)
TOKEN = chunk('data: {"choices":[{"text":"a"}]}\n\n')
USAGE = chunk('data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n')
DONE = chunk("data: [DONE]\n\n")
END = b"0\r\n\r\n"


def live(endpoint: Endpoint) -> load.Life:
    return load.live(endpoint, ASKED, {"temperature": 0.5, "max_tokens": 999}, time.monotonic())


def test_a_whole_answer() -> None:
    with peer(HEAD, chunk(": ping\n\n"), TOKEN, TOKEN, USAGE, DONE, END) as other:
        found = live(other.endpoint())
    assert (found.status, found.error, found.prompt_tokens, found.output_tokens) == (200, None, 3, 2)
    assert found.first_s is not None
    assert found.done_s is not None
    assert 0 <= found.sent_s < found.first_s < found.done_s


def test_what_is_sent_makes_the_answer_exactly_as_long_as_asked() -> None:
    with peer(HEAD, TOKEN, USAGE, DONE, END) as other:
        live(other.endpoint())
    sent = json.loads(other.got.partition(b"\r\n\r\n")[2])
    assert (sent["prompt"], sent["max_tokens"], sent["ignore_eos"], sent["temperature"]) == (
        [300, 301, 302],
        2,
        True,
        0.5,
    )


@pytest.mark.parametrize(
    "pieces", [(HEAD, TOKEN), (HEAD, TOKEN, b"5\r\nda"), (HEAD, TOKEN, END), (HEAD, USAGE, DONE, END)]
)
def test_a_stream_that_ends_in_the_middle_is_no_answer(pieces: tuple[bytes, ...]) -> None:
    with peer(*pieces) as other:
        found = live(other.endpoint())
    assert found.error
    assert found.done_s is None


def test_an_error_within_the_stream_is_the_requests_own() -> None:
    dead = chunk('data: {"error":{"message":"EngineCore encountered an issue"}}\n\n')
    with peer(HEAD, TOKEN, dead, DONE, END) as other:
        found = live(other.endpoint())
    assert found.error == "EngineCore encountered an issue"
    assert found.first_s is not None


def test_a_refusal_keeps_its_status_and_words() -> None:
    with peer(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 8\r\n\r\ntoo long") as other:
        found = live(other.endpoint())
    assert (found.status, found.error, found.first_s) == (400, "too long", None)


def nobody() -> Endpoint:
    return Endpoint("127.0.0.1", ports.free("127.0.0.1"), "m", "", 0)


def test_nobody_at_the_port() -> None:
    found = live(nobody())
    assert found.status is None
    assert "refused" in str(found.error)


def test_many_at_once_are_all_accounted_for() -> None:
    assert len(load.at_once(nobody(), [ASKED] * 20, {}, time.monotonic())) == 20


def test_a_load_that_does_not_fit_is_refused_before_it_is_sent() -> None:
    body = b'{"data":[{"id":"m","max_model_len":512}]}'
    with (
        peer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)) as other,
        pytest.raises(ArgumentError, match=r"up to 513 tokens .* max_model_len is 512"),
    ):
        load.check_length(other.endpoint(), 513)
    with peer(JSON) as silent:
        load.check_length(silent.endpoint(), 513)
