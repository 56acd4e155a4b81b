"""``make readme``: the figures of both READMEs, computed from the golden runs in tests/data/runs.

A README holds each between ``<!-- figures: NAME (made by make readme) -->`` and ``<!-- end -->``. ``python -m
tests.readme --check``, a part of ``make lint``, computes them again and says what differs.
"""
