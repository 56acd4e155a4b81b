"""The images of the test hosts: one recipe each, on Debian as this machine's registry or package mirror has it."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.hosts import apt, engine

SUITE = "bookworm"
# The user of every test host; the password is for sudo alone (sshd_config decides about more).
USER, PASSWORD = "lab", "secret"
# What an installation on a test host's disk costs is fsync; nothing here must survive a power cut.
# No daemon may start while packages are unpacked.
_BEGIN = """
set -eu
export DEBIAN_FRONTEND=noninteractive
rm -f /etc/apt/apt.conf.d/docker-clean
echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/unsafe-io
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get -o Acquire::https::CaInfo=/run/machine-ca.crt update
apt-get -o Acquire::https::CaInfo=/run/machine-ca.crt install -y --no-install-recommends \\
"""
# Every host makes a host key of its own when it starts.
RECIPE = f"""{_BEGIN}\
    openssh-server sudo python3 python3-venv python3-psutil python3-dev g++ libnuma1 procps iproute2 \
    ca-certificates util-linux libfaketime findutils tar
update-ca-certificates
rm -rf /etc/ssh/ssh_host_* /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/*
useradd --create-home --shell /bin/bash {USER}
echo '{USER}:{PASSWORD}' | chpasswd
python3 -m compileall -q /usr/lib/python3* || true
"""
# A host with systemd as its first process. What looks for hardware, consoles and logins has nothing to do in a
# container; at the end packages may start their daemons, as on any host.
SYSTEMD = f"""{_BEGIN}\
    systemd systemd-sysv dbus sudo python3 python3-apt iproute2 procps ca-certificates gpg gpg-agent
update-ca-certificates
systemctl mask systemd-udevd.service systemd-logind.service getty.target console-getty.service tmp.mount
rm -rf /usr/sbin/policy-rc.d /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/*
useradd --create-home --shell /bin/bash {USER}
echo '{USER}:{PASSWORD}' | chpasswd
python3 -m compileall -q /usr/lib/python3* || true
"""
_CERTIFICATES = Path("/usr/local/share/ca-certificates")
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def image(client: Any, recipe: str = RECIPE, suite: str = SUITE) -> str:
    """Tag of the image, which is built where it is absent. Raises NoEngineError."""
    tag = f"labctl-test-host:{hashlib.sha256((suite + recipe).encode()).hexdigest()[:12]}"
    # Two sessions build one after the other: they share the cache of packages.
    with engine.alone("image"):
        if not client.images.list(name=tag):
            _install(client, _base(client, suite), tag, recipe, suite)
    return tag


def _base(client: Any, suite: str) -> str:
    """Debian's own image where a registry answers, else one from this machine's mirror of packages."""
    import docker

    made = f"labctl-test-base:{suite}"
    pulled = f"debian:{suite}-slim"
    for tag in (made, pulled):
        if client.images.list(name=tag):
            return tag
    quick = docker.DockerClient.from_env(timeout=15)
    try:
        quick.images.pull(pulled)
    except (docker.errors.DockerException, OSError):
        _bootstrap(client, *made.split(":"))
        return made
    finally:
        quick.close()
    return pulled


def _bootstrap(client: Any, repository: str, tag: str) -> None:
    engine.need("debootstrap", "tar")
    cache = _packages()
    with tempfile.TemporaryDirectory(dir=engine.STATE, prefix="root-") as root:
        command = [str(shutil.which("debootstrap", path="/usr/sbin:/sbin:" + os.environ.get("PATH", "")))]
        command += ["--variant=minbase", f"--cache-dir={cache}", "--include=ca-certificates"]
        with (engine.STATE / "debootstrap.log").open("wb") as log:
            env = {**os.environ, "DPKG_FORCE": "unsafe-io"}
            words = [*command, tag, root, apt.mirror(tag)]
            done = subprocess.run(words, stdout=log, stderr=log, env=env, check=False)
        if done.returncode:
            raise engine.NoEngineError(f"debootstrap failed: see {log.name}")
        left_out = ["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*"]
        packed = Path(root) / "packed.tar"
        subprocess.run(["tar", "-C", root, *left_out, "--exclude=./packed.tar", "-cf", packed, "."], check=True)
        client.api.import_image_from_file(str(packed), repository=repository, tag=tag)


def _packages() -> Path:
    """Packages are kept: the second build downloads nothing."""
    folder = engine.STATE / "debs"
    (folder / "partial").mkdir(parents=True, exist_ok=True)
    return folder


def _install(client: Any, base: str, tag: str, recipe: str, suite: str) -> None:
    import docker

    # Mounts and no volumes: those would be part of the image.
    mounts = [docker.types.Mount("/var/cache/apt/archives", str(_packages()), type="bind")]
    if _BUNDLE.is_file():
        mounts.append(docker.types.Mount("/run/machine-ca.crt", str(_BUNDLE), type="bind", read_only=True))
    # The host's own network: what this machine reaches, the build reaches.
    labels = {engine.LABEL: engine.owner()}
    build = client.containers.create(base, ["sh", "-c", recipe], network_mode="host", mounts=mounts, labels=labels)
    try:
        build.put_archive("/", _machine_files(suite))
        build.start()
        code = build.wait(timeout=900)["StatusCode"]
        if code:
            end = build.logs(tail=20).decode(errors="replace")
            raise engine.NoEngineError(f"the image of the test hosts ({suite}) could not be built ({code}):\n{end}")
        # A container inherits labels of its image: this one would name an owner who is gone.
        build.commit(*tag.split(":"), changes=f"LABEL {engine.LABEL}=")
    finally:
        build.remove(force=True, v=True)


def _machine_files(suite: str) -> bytes:
    """This machine's package sources and extra certificates: its TLS may be signed anew, as in many companies."""
    files = {f"usr/local/share/ca-certificates/{path.name}": path.read_bytes() for path in _CERTIFICATES.glob("*.crt")}
    sources = apt.sources(suite)
    if sources:
        files["etc/apt/sources.list"] = sources.encode()
        files["etc/apt/sources.list.d/debian.sources"] = b""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()
