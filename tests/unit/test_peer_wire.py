"""What supervisors of a span say to each other, and what strangers can't."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.runner.peer_wire import LONGEST, LONGEST_STRANGER, Wire, WireError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some, max_size=3),
    max_leaves=5,
)
MESSAGE = st.dictionaries(st.text(max_size=5), PLAIN, max_size=3)


def pair(here: str = "secret", there: str = "secret") -> tuple[Wire, Wire]:
    """Two ends that have said their openings."""
    listener, caller = Wire(here, listener=True), Wire(there, listener=False)
    assert listener.feed(caller.opening()) == caller.feed(listener.opening()) == []
    return listener, caller


@settings(deadline=None)
@given(st.lists(MESSAGE, max_size=5), st.integers(1, 50))
def test_messages_arrive_however_they_are_cut(messages: list[dict[str, object]], size: int) -> None:
    listener, caller = pair()
    for one, other in ((caller, listener), (listener, caller)):
        data = b"".join(one.pack(message) for message in messages)
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert [message for piece in pieces for message in other.feed(piece)] == messages


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=10))
def test_garbage_is_never_a_message(pieces: list[bytes]) -> None:
    for wire in (Wire("secret", listener=True), pair()[0]):
        try:
            for piece in pieces:
                assert wire.feed(piece) == []
        except WireError:
            continue
        assert not wire.trusted


@settings(deadline=None)
@given(MESSAGE, st.data())
def test_a_message_that_was_changed_on_the_way_is_none(message: dict[str, object], data: st.DataObject) -> None:
    listener, caller = pair()
    line = bytearray(caller.pack(message))
    place = data.draw(st.integers(0, len(line) - 2))
    line[place] ^= data.draw(st.sampled_from([1, 2, 4, 8, 16, 32, 64]))
    try:
        assert listener.feed(bytes(line)) == []
    except WireError:
        return
    assert not listener.trusted


def test_who_does_not_know_the_secret_is_not_heard() -> None:
    listener, stranger = pair(there="another")
    with pytest.raises(WireError, match="secret"):
        listener.feed(stranger.pack({"kind": "end", "status": "stopped"}))


def test_what_was_said_once_counts_once() -> None:
    listener, caller = pair()
    line = caller.pack({"kind": "end"})
    assert listener.feed(line) == [{"kind": "end"}]
    with pytest.raises(WireError, match="secret"):
        listener.feed(line)
    other, _ = pair()
    with pytest.raises(WireError, match="secret"):
        other.feed(line)


def test_a_message_can_not_be_sent_back_to_its_sender() -> None:
    _, caller = pair()
    with pytest.raises(WireError, match="secret"):
        caller.feed(caller.pack({"kind": "end"}))


def test_lines_have_a_limit() -> None:
    with pytest.raises(WireError, match="too long"):
        Wire("secret", listener=True).feed(b"x" * (LONGEST_STRANGER + 1))
    listener, caller = pair()
    with pytest.raises(WireError, match="longer than"):
        caller.pack({"text": "x" * LONGEST})
    assert listener.feed(caller.pack({})) == [{}]
    assert listener.feed(b"x" * LONGEST_STRANGER * 2) == []
    with pytest.raises(WireError, match="too long"):
        listener.feed(b"x" * LONGEST)


@pytest.mark.parametrize("text", ["[1]", "7", "{" * 9 + "}" * 9, json.dumps({"a": 1})[:-1] + "x}"])
def test_what_a_peer_signs_must_be_an_object(text: str) -> None:
    listener, caller = pair()
    with pytest.raises(WireError):
        listener.feed(signed(caller, text))


def test_nothing_is_said_before_the_other_one_has_opened() -> None:
    with pytest.raises(WireError, match="opening"):
        Wire("secret", listener=True).pack({})


def signed(caller: Wire, text: str) -> bytes:
    """A line that a peer with a labctl of its own may send."""
    return caller._sign(caller._me, 0, text.encode()) + b" " + text.encode() + b"\n"


def test_what_no_file_can_hold_does_not_get_in() -> None:
    listener, caller = pair()
    text = '{"half \\ud800": ["\\udfff", {"far": 1e999, "none": NaN, "emoji": "\\ud83d\\ude00"}]}'
    [found] = listener.feed(signed(caller, text))
    assert found == {"half ?": ["?", {"far": None, "none": None, "emoji": "\U0001f600"}]}
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()


def test_what_is_nested_too_deeply_is_refused() -> None:
    listener, caller = pair()
    with pytest.raises(WireError, match="nested too deeply"):
        listener.feed(signed(caller, '{"node": ' + "[" * 200 + "]" * 200 + "}"))
