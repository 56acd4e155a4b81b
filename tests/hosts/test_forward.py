"""Tunnels over real sshd to a small HTTP server in the host."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from labctl import inventory
from labctl.errors import ServerError, UnreachableError, UsageError
from labctl.sessions import open_session
from tests.e2e.conftest import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labctl.inventory import Host
    from tests.hosts.fleet import Fleet
    from tests.hosts.laptop import Laptop
    from tests.hosts.machine import Machine

PORT = 8123
# /bytes/N: so many; /slow: five lines, a fifth of a second apart; /left: whether a client left /endless in mid-stream.
SERVER = """
import http.server, socketserver, time
left = False
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global left
        self.send_response(200)
        self.end_headers()
        name, _, number = self.path[1:].partition("/")
        if name == "bytes":
            self.wfile.write(bytes(i % 251 for i in range(int(number))))
        elif name == "slow":
            for i in range(5):
                self.wfile.write(b"line %d\\n" % i)
                time.sleep(0.2)
        elif name == "left":
            self.wfile.write(str(left).encode())
        elif name == "endless":
            try:
                while True:
                    self.wfile.write(b"x" * 1000)
                    time.sleep(0.01)
            except OSError:
                left = True
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 200
Server(("127.0.0.1", PORT), Answer).serve_forever()
"""


@pytest.fixture(scope="module")
def far(fleet: Fleet) -> Iterator[Machine]:
    """A host of this file's, with the server in it."""
    made = fleet.machine("far")
    made.write("/srv/server.py", SERVER.replace("PORT", str(PORT)).encode())
    made.shell("setsid python3 /srv/server.py > /srv/log 2>&1 < /dev/null &")
    until(lambda: _answers(made))
    yield made
    made.remove()


def _answers(machine: Machine) -> bool:
    look = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{PORT}/left').status)"
    return "200" in machine.shell(f'python3 -c "{look}"', check=False)


@pytest.fixture
def host(far: Machine, laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The host as this process, which is the laptop here, finds it."""
    return known(laptop, far, monkeypatch)


def known(laptop: Laptop, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Host:
    laptop.add(machine, machine.name)
    laptop.know(machine)
    for name in ("PATH", "HOME"):
        monkeypatch.setenv(name, laptop.env[name])
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return inventory.resolve(machine.name, laptop.inventory)


def get(port: int, path: str) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as line:
        line.request("GET", path)
        return line.getresponse().read()


def test_bytes_and_many_at_once(host: Host) -> None:
    want = bytes(i % 251 for i in range(200_000))
    with open_session(host) as session, session.forward(PORT) as here, ThreadPoolExecutor(40) as pool:
        assert all(found == want for found in pool.map(lambda _: get(here, "/bytes/200000"), range(80)))
        assert session.run(["echo", "as ever"]).out == "as ever\n", "the same connection serves all"


def test_a_stream_arrives_as_it_is_sent(host: Host) -> None:
    with (
        open_session(host) as session,
        session.forward(PORT) as here,
        closing(http.client.HTTPConnection("127.0.0.1", here, timeout=30)) as line,
    ):
        line.request("GET", "/slow")
        answer = line.getresponse()
        began = time.monotonic()
        came = [(answer.readline(), time.monotonic() - began) for _ in range(5)]
    assert [text for text, _ in came] == [b"line %d\n" % number for number in range(5)]
    assert came[0][1] < 0.15
    assert came[4][1] > 0.6


def test_small_answers_do_not_wait_for_an_acknowledgement(host: Host) -> None:
    """Of two small pieces sshd would keep the second back for 40 ms, each time, on a line that ran no command yet."""
    with open_session(host) as session, session.forward(PORT) as here:
        times = []
        for _ in range(20):
            began = time.monotonic()
            assert get(here, "/bytes/1") == b"\0"
            times.append(time.monotonic() - began)
    assert min(times) < 0.03


def test_a_client_that_leaves_is_told_to_the_server(host: Host) -> None:
    with open_session(host) as session, session.forward(PORT) as here:
        with closing(http.client.HTTPConnection("127.0.0.1", here, timeout=30)) as line:
            line.request("GET", "/endless")
            assert line.getresponse().read(10) == b"x" * 10
        until(lambda: get(here, "/left") == b"True", within=10)


def test_nothing_listens_there(host: Host) -> None:
    with open_session(host) as session:
        with pytest.raises(ServerError, match=r"nothing answers at 127\.0\.0\.1:9 on far: "), session.forward(9):
            raise AssertionError
        assert session.run(["true"]).code == 0


def test_a_port_that_is_taken_here(host: Host) -> None:
    with open_session(host) as session, session.forward(PORT) as here:
        with pytest.raises(UsageError, match=f"port {here} of this machine"), session.forward(PORT, local=here):
            raise AssertionError
        assert get(here, "/bytes/3") == b"\x00\x01\x02"


def test_a_line_that_is_cut_and_opened_anew(host: Host, far: Machine) -> None:
    with open_session(host) as session:
        with session.forward(PORT) as here:
            assert get(here, "/bytes/1") == b"\0"
            far.restart_sshd(kill_sessions=True)
            with pytest.raises((OSError, http.client.HTTPException)):
                get(here, "/bytes/1")
            with pytest.raises(UnreachableError):
                session.wait("/nowhere", 0)
        session.reopen()
        with session.forward(PORT, local=here) as again:
            assert again == here
            assert get(here, "/bytes/1") == b"\0"


def test_a_host_that_forbids_tunnels(
    laptop: Laptop, machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = known(laptop, machine("strict", sshd=("AllowTcpForwarding no",)), monkeypatch)
    with open_session(strict) as session:
        with pytest.raises(UnreachableError, match="forbids tunnels"), session.forward(22):
            raise AssertionError
        assert session.run(["true"]).code == 0
