"""What is sent to a host's shell, and what its answers may and may not be."""

from __future__ import annotations

import io
import shlex
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.sessions import Entry
from labctl.sessions.ssh import shell

if TYPE_CHECKING:
    from collections.abc import Callable

# Files as BRING sends them; None is one that is not there.
FILES = st.lists(st.none() | st.binary(max_size=64), max_size=6)
CUTS = st.lists(st.integers(1, 9), max_size=30)


def answer(files: list[bytes | None]) -> bytes:
    return b"".join(b"-\n" if data is None else b"%d\n%s" % (len(data), data) for data in files) + b"end\n"


def reader(stream: bytes, cuts: list[int]) -> Callable[[int], bytes]:
    """Reads as a network gives them: so many bytes at a time, then whatever is asked for."""
    left = io.BytesIO(stream)
    sizes = iter(cuts)
    return lambda most: left.read(min(most, next(sizes, most)))


def bring(stream: bytes, count: int, cuts: list[int], limit: int = 64) -> list[bytes | None]:
    """As SshSession.bring reads an answer."""
    frames = shell.Frames(reader(stream, cuts))
    found: list[bytes | None] = []
    for _ in range(count):
        size = frames.size(limit)
        data = io.BytesIO()
        if size is not None:
            frames.copy(size, data)
        found.append(None if size is None else data.getvalue())
    frames.end()
    return found


@given(FILES, CUTS)
def test_files_come_whole_however_the_stream_is_cut_into_reads(files: list[bytes | None], cuts: list[int]) -> None:
    assert bring(answer(files), len(files), cuts) == files


@given(FILES, CUTS, st.data())
def test_a_stream_that_breaks_off_anywhere_is_refused(
    files: list[bytes | None], cuts: list[int], data: st.DataObject
) -> None:
    whole = answer(files)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(shell.GarbledError):
        bring(cut, len(files), cuts)


@given(st.binary(max_size=200), CUTS)
def test_noise_is_refused_or_a_right_answer(noise: bytes, cuts: list[int]) -> None:
    try:
        found = bring(noise, 2, cuts)
    except shell.GarbledError:
        return
    assert len(found) == 2


@pytest.mark.parametrize("size", ["65", "-1", "1e3", "+1", " 1", "0x1", "", "٣" * 3, "9" * 19, "9" * 500])
def test_sizes_that_are_refused(size: str) -> None:
    with pytest.raises(shell.GarbledError):
        shell.Frames(reader(f"{size}\n".encode(), [])).size(64)


def test_the_size_that_was_asked_for_is_taken() -> None:
    assert shell.Frames(reader(b"64\n", [])).size(64) == 64


def test_an_answer_out_of_step_is_told_from_one_that_broke_off() -> None:
    with pytest.raises(shell.GarbledError, match="out of step"):
        bring(b"2\nabc\nend\n", 1, [])
    with pytest.raises(shell.GarbledError, match="broke off"):
        bring(b"2\na", 1, [])


def test_a_listing() -> None:
    text = (
        "81a4 12 ./spec.json\na1ff 5 ./link\n81a4 0 ./a folder/with  blanks\n41ed 0 ./odd folder\n11b4 0 ./pipe\nend\n"
    )
    assert shell.entries(text) == [
        Entry("spec.json", 12, regular=True),
        Entry("link", 5, regular=False),
        Entry("a folder/with  blanks", 0, regular=True),
        Entry("odd folder", 0, regular=False),
        Entry("pipe", 0, regular=False),
    ]
    assert shell.entries("end\n") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "end",
        "81a4 12 ./a\n",
        "81a4 12 ./a\nen",
        "81a4 12\nend\n",
        "zz 1 ./a\nend\n",
        "81a4 x ./a\nend\n",
        "\nend\n",
    ],
)
def test_a_listing_that_is_none(text: str) -> None:
    with pytest.raises(shell.GarbledError):
        shell.entries(text)


def test_a_name_with_a_newline_is_refused() -> None:
    with pytest.raises(shell.GarbledError, match="odd line"):
        shell.entries("81a4 1 ./one\nname\nend\n")


@given(st.text(max_size=300))
def test_any_text_is_a_listing_or_refused(text: str) -> None:
    try:
        found = shell.entries(text)
    except shell.GarbledError:
        return
    assert len(found) == text.count("\n") - 1


@pytest.mark.parametrize("size", ["-5", "+5", "1.0", "²"])
def test_a_size_in_a_listing_is_a_plain_number(size: str) -> None:
    with pytest.raises(shell.GarbledError):
        shell.entries(f"81a4 {size} ./a\nend\n")


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_a_command_is_only_quoted_words(arguments: list[str]) -> None:
    text = shell.command(shell.RUN, arguments, {"NAME": "a 'b' $c"})
    words = shlex.split(text)
    assert words[:2] == ["env", "NAME=a 'b' $c"]
    assert words[2:4] == ["sh", "-c"]
    assert words[5:] == ["labctl", *arguments]
    assert shell.command(shell.RUN, arguments).startswith("sh -c ")
