from __future__ import annotations

import pytest

from labctl.report import amounts

NO_NUMBERS: list[object] = [None, True, "7", [], {}, float("nan"), float("inf"), 10**400]


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_finite_number_is_none(value: object) -> None:
    for function in (amounts.finite, amounts.number, amounts.seconds, amounts.size):
        assert function(value) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (29056, "29,056"),
        (3146.4, "3,146"),
        (204.31, "204.3"),
        (44.254, "44.25"),
        (5.0, "5"),
        (0.24, "0.24"),
        (-0.00001, "-1e-05"),
        (10**20, "1e+20"),
    ],
)
def test_number(value: object, shown: object) -> None:
    assert amounts.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 s"),
        (0.000025, "0.03 ms"),
        (0.133, "133 ms"),
        (0.84, "0.84 s"),
        (44.664, "44.66 s"),
        (12345, "12,345 s"),
    ],
)
def test_seconds(value: object, shown: object) -> None:
    assert amounts.seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1 KiB"),
        (4084700000, "3.80 GiB"),
        (1e30, "867,361,737,988 EiB"),
    ],
)
def test_size(value: object, shown: object) -> None:
    assert amounts.size(value) == shown
