"""Kept servers over real sshd: up, ps, ask, tunnel, down. The server is a stand-in for ``vllm serve`` (light_lab)."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import until
from tests.e2e.tunnels import pasted, tunnel
from tests.hosts import light_lab
from tests.hosts.laptop import Laptop, laptop_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.hosts.machine import Machine

EVERYWHERE = "0.0.0.0"  # noqa: S104 - on the test host
UP = ("up", "server", "--model", light_lab.MODEL, "--host", "served")


@pytest.fixture(scope="module")
def served(lab_host: Callable[..., Machine]) -> Machine:
    return lab_host("served")


@pytest.fixture
def laptop(tmp_path: Path, served: Machine) -> Iterator[Laptop]:
    made = laptop_of(tmp_path, served, "served")
    yield made
    # A test that failed leaves nothing to the next one.
    for run in there(served):
        made.start("stop", run, "--host", "served").communicate(timeout=60)


@pytest.fixture(scope="module")
def kept(lab_host: Callable[..., Machine], tmp_path_factory: pytest.TempPathFactory) -> tuple[Laptop, Machine]:
    """A host with a server that is up, and the laptop that started it: for tests that leave it up."""
    host = lab_host("kept")
    mine = laptop_of(tmp_path_factory.mktemp("kept"), host, "kept")
    mine("up", "server", "--model", light_lab.MODEL, "--host", "kept", "--name", "first", "--restarts", "9")
    return mine, host


def there(host: Machine) -> list[str]:
    """Runs that go on there."""
    listed = host.shell(f"cd {host.lab_dir}/runs && for r in *; do [ -e $r/SHA256SUMS ] || echo $r; done")
    return [name for name in listed.split() if name != "*"]


def ps(laptop: Laptop, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(laptop("ps", "--json", *words, stderr=False))
    return found


def engine_pid(host: Machine) -> str:
    return host.shell("pgrep -f '[v]llm.entrypoints.cli.main serve' | head -1", check=False).strip()


def test_up_ps_ask_and_down(laptop: Laptop, served: Machine) -> None:
    said = laptop(*UP, "--name", "mine")
    [run] = there(served)
    assert re.search(rf"server mine is ready on served: {light_lab.MODEL} at 127\.0\.0\.1:\d+", said)
    assert "supervised by labctl's runner (no systemd runs here); started anew 3 times at most" in said
    assert "labctl down mine --host served" in said
    [row] = ps(laptop)
    assert (row["name"], row["state"], row["run"]) == ("mine", "ready", run)
    assert (row["restarts"], row["api_key"], row["unit"]) == (0, False, None)
    assert re.search(rf"^mine +served +ready .*0/3 +{light_lab.MODEL}", laptop("ps", "--host", "served"), re.MULTILINE)
    out, err = laptop.start("ask", "Hello there", "--max-tokens", "3").communicate(timeout=30)
    assert out == " t0 t1 t2\n"
    assert re.fullmatch(r"3 tokens, the first after 0\.\d+ s, then [\d.]+ a second\n", err)
    assert laptop("ask", "A", "--completion", "--no-stream", "--max-tokens", "2", stderr=False) == " t0 t1\n"
    said = laptop("down")
    assert f"run: {run} (stopped)" in said
    assert "kept up until it was stopped" in said
    assert "0 problems" in laptop("verify", run)
    assert there(served) == []
    assert engine_pid(served) == ""
    assert ps(laptop, "--host", "served") == []
    assert "no server that was started from here is up" in laptop("ask", "x", code=12)
    assert "no kept server runs on served" in laptop("down", "--host", "served", code=12)


def test_what_goes_wrong_with_a_question(kept: tuple[Laptop, Machine]) -> None:
    laptop, _ = kept
    said = laptop("ask", "Hi", "--model", "nope", code=12)
    assert (
        f"the server has no model nope (HTTP 404: The model `nope` does not exist.); it serves {light_lab.MODEL}"
        in said
    )
    said = laptop("ask", "please fail", code=12)
    assert "HTTP 500: the stand-in was asked to fail" in said
    assert "labctl logs" in said
    out = laptop("ask", "escape", "--max-tokens", "3", stderr=False)
    assert "\x1b" not in out
    assert "\x9b" not in out
    said = laptop("ask", "x", "--name", "other", code=12)
    assert "no server other was started from here (up: first)" in said
    assert "the answer broke off" in laptop("ask", "please die", code=12)
    until(lambda: ps(laptop)[0]["state"] == "ready", within=20)


def test_a_server_that_dies_is_started_anew_so_many_times(laptop: Laptop, served: Machine) -> None:
    laptop(*UP, "--restarts", "2")
    [run] = there(served)
    [before] = ps(laptop)
    served.shell(f"kill -9 {engine_pid(served)}")
    until(lambda: ps(laptop)[0]["restarts"] == 1 and ps(laptop)[0]["state"] == "ready", within=30)
    assert ps(laptop)[0]["port"] == before["port"]
    assert laptop("ask", "Hi", "--max-tokens", "1", stderr=False) == " t0\n"
    served.shell(f"touch /tmp/stand-in-load; kill -9 {engine_pid(served)}")
    until(lambda: ps(laptop)[0]["state"] == "restarting", within=10)
    said = laptop("ask", "Hi", code=12)
    assert "server server on served is not ready: restarting 2/2" in said
    assert "labctl ps --host served" in said
    served.shell("rm /tmp/stand-in-load")
    until(lambda: ps(laptop)[0]["state"] == "ready", within=30)
    laptop("ask", "please die", code=12)
    until(lambda: there(served) == [], within=30)
    said = laptop("ask", "Hi", code=12)
    assert "server server on served is down: failed: vllm serve ended with exit status 1 while it was up" in said
    said = laptop("fetch", run)
    record = laptop.record(laptop.runs_dir / run)
    assert (record["status"], record["error"]["kind"], record["error"]["phase"]) == ("failed", "server", "up")
    assert "the stand-in was asked to die" in record["error"]["message"]
    assert "(it had been started anew 2 of at most 2 times)" in record["error"]["message"]
    rows = [json.loads(row) for row in (laptop.runs_dir / run / "events.jsonl").read_text().splitlines()]
    again = [
        (row["number"], row["of"], row["reason"].partition(" while")[0]) for row in rows if row["event"] == "restart"
    ]
    assert again == [
        (1, 2, "vllm serve was killed by signal 9 (SIGKILL)"),
        (2, 2, "vllm serve was killed by signal 9 (SIGKILL)"),
    ]
    assert "0 problems" in laptop("verify", run)


def test_a_server_that_cannot_load_is_not_started_anew(laptop: Laptop, served: Machine) -> None:
    served.shell("touch /tmp/stand-in-broken")
    try:
        said = laptop(*UP, "--expose", EVERYWHERE, code=1)
    finally:
        served.shell("rm /tmp/stand-in-broken")
    assert "shown this once" not in said
    assert list((laptop.folder / ".labctl" / "keys").iterdir()) == []
    run = laptop.newest()
    assert f"run: {run.name} (failed)" in said
    assert "ValueError: the stand-in was made to fail while loading" in said
    assert '"restart"' not in (run / "events.jsonl").read_text()
    assert "0 problems" in laptop("verify")
    assert there(served) == []


def test_ctrl_c_leaves_a_server_loading(laptop: Laptop, served: Machine) -> None:
    served.shell("touch /tmp/stand-in-load")
    try:
        process = laptop.start(*UP)
        until(lambda: list(laptop.runs_dir.glob("*/logs/engine.log")))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        assert process.returncode == 130
        assert "detached" in err
        said = laptop("ask", "Hi", code=12)
        assert "is not ready: loading (engine)" in said
        assert ps(laptop)[0]["state"] == "loading"
        said = laptop("down")
    finally:
        served.shell("rm /tmp/stand-in-load")
    assert "(stopped)" in said
    assert laptop.record()["error"]["phase"] == "engine"
    assert there(served) == []
    assert engine_pid(served) == ""


def test_a_name_and_a_gpu_are_held_once(kept: tuple[Laptop, Machine]) -> None:
    laptop, host = kept
    up = ("up", "server", "--model", light_lab.MODEL, "--host", "kept")
    [run] = there(host)
    said = laptop(*up, "--name", "first", code=12)
    assert f"a server first is up on kept already: run {run}, ready since" in said
    assert "labctl down first --host kept" in said
    assert len(list(laptop.runs_dir.iterdir())) == 1, "nothing was started"
    said = laptop(*up, "--name", "second", code=1)
    assert f"error in lock: cpu is held by run {run}" in said
    assert [row["run"] for row in ps(laptop)] == [run]


def test_a_tunnel_whose_lines_work_as_pasted(kept: tuple[Laptop, Machine]) -> None:
    laptop, host = kept
    process, said = tunnel(laptop)
    base = said.splitlines()[0]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", base)
    answer = subprocess.run(["bash", "-c", pasted(said, "curl")], capture_output=True, text=True, check=True).stdout
    assert json.loads(answer)["choices"][0]["message"]["content"].startswith(" t0 t1")
    # In a process of its own, as a user would; nothing of this one's is known there.
    words = [sys.executable, "-c", pasted(said, "from openai")]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.startswith(" t0 t1")
    port = int(base.split(":")[2].removesuffix("/v1"))
    taken = laptop("tunnel", "--port", str(port), code=2)
    assert f"port {port} of this machine cannot be had: Address already in use" in taken
    host.restart_sshd(kill_sessions=True)
    until(lambda: _works(pasted(said, "curl")), within=30)
    # A server that is started anew is found at the same place.
    host.shell(f"kill -9 {engine_pid(host)}")
    until(lambda: not _works(pasted(said, "curl")), within=5)
    until(lambda: _works(pasted(said, "curl")), within=30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err.count("no answer, trying again") == 1
    assert f"the tunnel is open again: 127.0.0.1:{port}" in err
    assert not _works(pasted(said, "curl"))


def _works(line: str) -> bool:
    return subprocess.run(["bash", "-c", line], capture_output=True, check=False).returncode == 0


def test_a_client_that_leaves_in_mid_stream(kept: tuple[Laptop, Machine]) -> None:
    laptop, host = kept
    [run] = there(host)
    process = laptop.start("ask", "slow 5", "--max-tokens", "200")
    assert process.stdout is not None
    assert process.stdout.read(3) == " t0"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    log = f"{host.lab_dir}/runs/{run}/logs/engine.log"
    until(lambda: "a client left in mid-stream" in host.shell(f"cat {log}"), within=10)
    assert laptop("ask", "Hi", "--max-tokens", "1", stderr=False) == " t0\n"


def test_a_server_that_others_reach_has_a_key(laptop: Laptop, served: Machine, tmp_path: Path) -> None:
    process = laptop.start(*UP, "--expose", EVERYWHERE, "--port", "8765")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    key = out.splitlines()[0]
    [run] = there(served)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", key)
    assert "shown this once" in err
    assert "0.0.0.0:8765 speaks HTTP, which is clear text" in err
    opened = "/health, /invocations, /metrics, /openapi.json, /ping, /scale_elastic_ep, /tokenize, /version"
    assert f"without the key these routes answer all the same: {opened}\n" in err
    assert "of these, /invocations run the model: who reaches that port uses it without the key" in err
    file = laptop.folder / ".labctl" / "keys" / "served" / run
    assert (file.read_text(), file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (
        f"{key}\n", 0o600, 0o700,
    )  # fmt: skip
    kept_there = f"{served.lab_dir}/secrets/{run}.key"
    assert served.shell(f"stat -c %a {kept_there}; cat {kept_there}") == f"600\n{key}\n"
    lab = served.lab_dir
    assert key not in served.shell(f"find {lab}/runs {lab}/locks -type f -exec cat {{}} +; cat /proc/[0-9]*/cmdline")
    # From elsewhere, not through SSH: the server is open to all, its /v1 to who has the key.
    look = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://{served.address}:8765/v1/models"]
    assert subprocess.run(look, capture_output=True, text=True, check=True).stdout == "401"
    with_key = [*look, "-H", f"Authorization: Bearer {key}"]
    assert subprocess.run(with_key, capture_output=True, text=True, check=True).stdout == "200"
    process, said = tunnel(laptop)
    assert f'-H "Authorization: Bearer $(cat {file})"' in said
    assert key not in said
    assert _works(pasted(said, "curl") + " | grep -q choices")
    words = [sys.executable, "-c", pasted(said, "from openai")]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.startswith(" t0 t1")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    file.write_text("wrong-key-wrong-key\n")
    said = laptop("ask", "Hi", code=12)
    assert f"the server refused the API key (HTTP 401) in {file}" in said
    assert f"next: rm {file}" in said
    file.unlink()
    assert laptop("ask", "Hi", "--max-tokens", "1", stderr=False) == " t0\n", "the host's own copy was fetched"
    other = laptop_of(tmp_path / "other", served, "rented")
    assert other("ask", "Hi", "--max-tokens", "1", "--host", "rented", stderr=False) == " t0\n"
    assert "(stopped)" in other("down", "--host", "rented")
    assert served.shell(f"ls {served.lab_dir}/secrets") == ""
    assert list((other.folder / ".labctl" / "keys").iterdir()) == []
    assert (
        key
        not in subprocess.run(["grep", "-rF", key, other.runs_dir], capture_output=True, text=True, check=False).stdout
    )
    rows = [json.loads(row) for row in (other.runs_dir / run / "events.jsonl").read_text().splitlines()]
    [told] = [row for row in rows if row["event"] == "open_routes"]
    assert {one["path"] for one in told["open"]} == set(opened.split(", "))


# Listens where the server will, as soon as it can, and keeps what it is told.
THIEF = """
import socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    c, _ = s.accept()
    open("/tmp/thief-got", "a").write(c.recv(65536).decode(errors="replace"))
    c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
    c.close()
"""


def thief(host: Machine, port: int) -> None:
    """Another user's program at a port of that host."""
    host.write("/opt/thief.py", THIEF.encode())
    host.shell(f"id mallory || useradd mallory; setpriv --reuid mallory --clear-groups --regid mallory python3 "
               f"/opt/thief.py {port} < /dev/null > /dev/null 2>&1 &")  # fmt: skip
    until(lambda: "thief.py" in host.shell("pgrep -af '[t]hief.py'", check=False), within=10)


def test_another_users_program_at_the_port(laptop: Laptop, served: Machine) -> None:
    served.shell("touch /tmp/stand-in-load")
    try:
        laptop(*UP, "--expose", EVERYWHERE, "--port", "8765", "--detach")
        until(lambda: engine_pid(served) != "", within=30)
        thief(served, 8765)
        until(lambda: there(served) == [], within=30)
    finally:
        served.shell("rm -f /tmp/stand-in-load; pkill -9 -f '[t]hief.py'", check=False)
    assert "failed" in laptop("fetch")
    told = json.loads((laptop.newest() / "record.json").read_text())["error"]["message"]
    assert "another program answers at port 8765 of 127.0.0.1" in told
    assert served.shell("ls /tmp | grep thief || true") == "", "it is not even asked"
    assert list((laptop.folder / ".labctl" / "keys").iterdir()) == []


def test_a_host_that_claims_another_hosts_run(kept: tuple[Laptop, Machine], tmp_path: Path, served: Machine) -> None:
    laptop = Laptop(tmp_path / "laptop")
    for host in (served, kept[1]):
        laptop.add(host, host.name)
        laptop.know(host)
    laptop(*UP, "--expose", EVERYWHERE)
    [run] = there(served)
    evil, folder = kept[1], f"{kept[1].lab_dir}/runs/{run}"
    card = json.loads(evil.read(f"{evil.lab_dir}/lab.json"))
    try:
        for name in ("spec.json", "record.json", "events.jsonl"):
            evil.write(f"{folder}/{name}", served.read(f"{served.lab_dir}/runs/{run}/{name}"))
        more = {"t": 99.0, "event": "server", "port": 7777, "model": "m"}
        evil.shell(f"echo '{json.dumps(more)}' >> {folder}/events.jsonl")
        evil.write(f"{evil.lab_dir}/locks/server_server.lock", json.dumps({"run_id": run}).encode())
        evil.write(f"{evil.lab_dir}/lab.json", json.dumps({**card, "python": "/bin/true"}).encode())
        thief(evil, 7777)
        said = laptop("ask", "Hi", "--host", evil.name, "--name", "server", code=12)
        assert f"wants an API key, and neither this machine nor {evil.name} has it" in said
        assert evil.shell("ls /tmp | grep thief || true") == ""
    finally:
        evil.write(f"{evil.lab_dir}/lab.json", json.dumps(card).encode())
        evil.shell(f"pkill -9 -f '[t]hief.py'; rm -rf {folder} {evil.lab_dir}/locks/server_server.lock", check=False)
        laptop("down")


def test_a_key_goes_with_its_server_however_it_ends(laptop: Laptop, served: Machine) -> None:
    keys = laptop.folder / ".labctl" / "keys"
    laptop(*UP, "--expose", EVERYWHERE, "--restarts", "0")
    [run] = there(served)
    assert (keys / "served" / run).is_file()
    laptop("stop", run)
    assert list(keys.iterdir()) == []
    laptop(*UP, "--expose", EVERYWHERE, "--restarts", "0")
    [run] = there(served)
    served.shell(f"kill -9 {engine_pid(served)}")
    until(lambda: there(served) == [], within=30)
    laptop("fetch", run)
    assert list(keys.iterdir()) == []


def test_a_host_with_more_servers_than_can_be(kept: tuple[Laptop, Machine]) -> None:
    laptop, host = kept
    [run] = there(host)
    many = f"for i in $(seq 100); do cp -r runs/{run} runs/{run}-x$i; echo '{{\"run_id\": \"{run}-x'$i'\"}}' > "
    host.shell(f"cd {host.lab_dir}; {many} locks/server_x$i.lock; cp locks/server_x$i.lock locks/server_y$i.lock; done")
    host.write("/opt/slow", b"#!/bin/sh\nsleep 1\n", mode=0o755)
    card = json.loads(host.read(f"{host.lab_dir}/lab.json"))
    host.write(f"{host.lab_dir}/lab.json", json.dumps({**card, "python": "/opt/slow"}).encode())
    try:
        began = time.monotonic()
        found = ps(laptop, "--host", host.name)
        assert (len(found), len({row["run"] for row in found})) == (64, 64)
        assert time.monotonic() - began < 60
    finally:
        host.write(f"{host.lab_dir}/lab.json", json.dumps(card).encode())
        host.shell(f"cd {host.lab_dir}; rm -rf runs/*-x[0-9]* locks/server_x* locks/server_y*")


@pytest.mark.slow  # tests/e2e/test_up.py has one with the real vLLM
def test_a_key_of_ones_own(laptop: Laptop, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("one-of-my-own-keys\n")
    file.chmod(0o644)
    assert "others may read" in laptop(*UP, "--api-key-file", str(file), code=2)
    file.chmod(0o600)
    said = laptop(*UP, "--api-key-file", str(file))
    assert "shown this once" not in said
    assert "one-of-my-own-keys" not in said
    assert "clear text" not in said, "it is loopback"
    assert ps(laptop)[0]["api_key"] is True
    assert laptop("ask", "Hi", "--max-tokens", "1", stderr=False) == " t0\n"
    file.write_text("short\n")
    assert "holds no API key" in laptop(*UP, "--name", "b", "--api-key-file", str(file), code=2)


def test_what_is_refused_before_a_host_is_asked(laptop: Laptop, served: Machine) -> None:
    assert "vLLM's dev mode is for 127.0.0.1 alone" in laptop(*UP, "--dev", "--expose", EVERYWHERE, code=2)
    assert "a server's name has letters, digits" in laptop(*UP, "--name", "a/b", code=2)
    lab = laptop.folder / "open.toml"
    lab.write_text('model = "m"\nmode = "server"\n[workload]\nkind = "hold"\n[server]\naddress = "0.0.0.0"\n')
    assert "say so by --expose 0.0.0.0" in laptop("up", str(lab), "--host", "served", code=2)
    spec = json.loads(laptop(*UP, "--dry-run", "--restarts", "0", "--port", "9000", stderr=False))
    assert (spec["server"]["restarts"], spec["server"]["port"], spec["workload"]) == (0, 9000, {"kind": "hold"})
    lab.write_text('model = "m"\nmode = "server"\n[workload]\nkind = "hold"\n[server]\nport = 9000\n')
    asked = json.loads(laptop("up", str(lab), "--host", "served", "--dry-run", "--port", "0", stderr=False))
    assert asked["server"]["port"] == 0, "0 is a free port, whatever the lab says"
    assert there(served) == []


@pytest.mark.slow  # test_unit.py has the same under systemd
def test_a_supervisor_that_is_killed_takes_its_server_along(laptop: Laptop, served: Machine) -> None:
    laptop(*UP)
    [run] = there(served)
    pid = json.loads(served.read(f"{served.lab_dir}/runs/{run}/record.json"))["supervisor"]["pid"]
    served.shell(f"kill -9 {pid}")
    until(lambda: engine_pid(served) == "", within=10)
    assert ps(laptop) == []
    said = laptop("ask", "Hi", code=12)
    assert "is down: lost: the run was lost: its supervisor was killed" in said
    assert laptop("fetch", run).count("lost") == 1
    laptop(*UP)
    assert "(stopped)" in laptop("down")


def test_a_port_that_is_taken_there(laptop: Laptop) -> None:
    said = laptop(*UP, "--port", "22", code=1)
    assert "port 22 at 127.0.0.1 cannot be had: Address already in use" in said


@pytest.mark.parametrize("verb", [("ask", "Hi"), ("tunnel",), ("down",), ("ps",)])
def test_a_host_that_is_gone(laptop: Laptop, verb: tuple[str, ...]) -> None:
    with laptop.inventory.open("a") as lines:
        lines.write("gone ansible_host=127.0.0.1 ansible_port=1\n")
    began = time.monotonic()
    assert "gone cannot be reached" in laptop(*verb, "--host", "gone", code=4)
    assert time.monotonic() - began < 10


def test_hosts_without_servers(laptop: Laptop, machine: Callable[..., Machine]) -> None:
    bare = machine("bare")
    laptop.add(bare, "bare")
    laptop.know(bare)
    assert "no kept server runs on served, bare" in laptop("ps", "--host", "served,bare")
    assert "is not provisioned" in laptop("up", "--host", "bare", code=6)
