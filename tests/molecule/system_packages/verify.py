"""What vLLM's CPU build needs from the system, on a host that had none of it."""

from __future__ import annotations

from typing import Any


def test_the_library_is_found(host: Any) -> None:
    assert "libnuma.so.1" in host.check_output("/sbin/ldconfig -p")


def test_a_compiler_compiles(host: Any) -> None:
    host.check_output(
        "d=$(mktemp -d) && echo 'int main() {}' | g++ -x c++ -o $d/a - && $d/a; rc=$?; rm -r $d; exit $rc"
    )
