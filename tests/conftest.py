"""What holds for all tests, and the one engine of all test hosts."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosts import engine
from tests.hosts.fleet import sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Here, not beside the hosts: a second fixture of this name would stop the engine under the first one's feet.
@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Any]:
    """A docker client, or every test that needs one is skipped with the reason."""
    try:
        engine.need("ssh", "tar")
        with engine.engine() as client:
            sweep(client, everything=False)
            yield client
            sweep(client, everything=True)
    except engine.NoEngineError as error:
        pytest.skip(f"no test hosts: {error}")
