"""Two signed repositories of packages WITHOUT CONTENT that bear the names and versions of NVIDIA's.

What they test is where packages come from, which are chosen, pins, holds and a second run; never a driver.
nvidia-ctk in them is a script that writes down its words and changes what the real one would change.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from email.utils import formatdate
from pathlib import Path

UNIT = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
CTK = """#!/usr/bin/python3
import json, pathlib, sys
with open("/var/log/nvidia-ctk", "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1:3] == ["runtime", "configure"]:
    path = pathlib.Path("/etc/docker/daemon.json")
    path.parent.mkdir(exist_ok=True)
    told = json.loads(path.read_text()) if path.exists() else {}
    told.setdefault("runtimes", {})["nvidia"] = {"path": "nvidia-container-runtime", "args": []}
    path.write_text(json.dumps(told))
if sys.argv[1:3] == ["cdi", "generate"]:
    path = pathlib.Path(sys.argv[3].partition("=")[2])
    path.parent.mkdir(exist_ok=True)
    path.write_text("hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05\\n")
"""
# (package, version, depends, files). Branch 590 is there to be passed over; update-glx is Debian's own, in contrib.
DRIVER = [
    row
    for version in ("580.82.07-1", "580.95.05-1", "590.44.01-1")
    for row in (
        ("nvidia-driver-cuda", version, f"libcuda1 (>= {version}), update-glx", {}),
        ("libcuda1", version, "", {}),
        ("nvidia-kernel-open-dkms", version, "", {}),
        ("nvidia-kernel-dkms", version, "", {}),
        ("nvidia-persistenced", version, "", {"usr/lib/systemd/system/nvidia-persistenced.service": UNIT}),
        (
            "nvidia-fabricmanager" if version.startswith("590") else "nvidia-fabricmanager-580",
            version,
            "",
            {"usr/lib/systemd/system/nvidia-fabricmanager.service": UNIT},
        ),
    )
]
DRIVER += [("linux-headers-6.1.0-0-test", "6.1.1-1", "", {}), ("linux-headers-test", "6.1.1-1", "", {})]
TOOLKIT = [("nvidia-container-toolkit", "1.18.0-1", "", {"usr/bin/nvidia-ctk": CTK})]


def package(folder: Path, name: str, version: str, depends: str, files: dict[str, str]) -> str:
    """Make one, and give its entry in the list of packages."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: labctl's tests <none>\n"
        control += (f"Depends: {depends}\n" if depends else "") + "Description: without content\n"
        for path, text in {**files, "DEBIAN/control": control}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
            (root / path).chmod(0o755 if "/bin/" in path else 0o644)
        root.chmod(0o755)
        deb = folder / f"{name}_{version}_all.deb"
        subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "-b", made, deb], check=True, capture_output=True)
    data = deb.read_bytes()
    return f"{control}Filename: ./{deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"


def repository(folder: Path, packages: list[tuple[str, str, str, dict[str, str]]], gpg: list[str]) -> None:
    """A flat repository, signed."""
    folder.mkdir(parents=True)
    listed = "\n".join(package(folder, *one) for one in packages).encode()
    (folder / "Packages").write_bytes(listed)
    digest = f" {hashlib.sha256(listed).hexdigest()} {len(listed)} Packages"
    release = f"Origin: labctl's tests\nDate: {formatdate(usegmt=True)}\nSHA256:\n{digest}\n"
    sign = [*gpg, "--clearsign", "--output", str(folder / "InRelease")]
    subprocess.run(sign, input=release.encode(), check=True, capture_output=True)


def main(root: Path) -> None:
    """Everything below ``root``; `fingerprint` is written last."""
    root.mkdir(parents=True)
    root.chmod(0o755)
    with tempfile.TemporaryDirectory() as home:
        gpg = ["gpg", "--batch", "--homedir", home, "--passphrase", ""]
        subprocess.run(
            [*gpg, "--quick-generate-key", "labctl's tests", "ed25519", "sign"], check=True, capture_output=True
        )
        key = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout
        (root / "key.asc").write_bytes(key)
        told = subprocess.run([*gpg, "--with-colons", "--list-keys"], check=True, capture_output=True, text=True).stdout
        repository(root / "driver", DRIVER, gpg)
        repository(root / "toolkit" / "amd64", TOOLKIT, gpg)
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    fingerprint = next(line.split(":")[9] for line in told.splitlines() if line.startswith("fpr:"))
    (root / "fingerprint").write_text(fingerprint + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
