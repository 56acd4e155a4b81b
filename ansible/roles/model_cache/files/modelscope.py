"""Download a model from ModelScope into a folder: ``modelscope.py ID FOLDER``, by ModelScope's own program.

The token comes from the file that MODELSCOPE_TOKEN_PATH names, never by a command line.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def main(model: str, folder: Path) -> int:
    """Give the program's exit status; a whole model is marked as such."""
    environment = dict(os.environ)
    token = environment.pop("MODELSCOPE_TOKEN_PATH", "")
    if token:
        environment["MODELSCOPE_API_TOKEN"] = Path(token).read_text(encoding="utf-8").strip()
    program = str(Path(sys.executable).with_name("modelscope"))
    folder.mkdir(parents=True, exist_ok=True)
    command = [program, "download", "--model", model, "--local_dir", str(folder)]
    code = subprocess.run(command, env=environment, check=False).returncode
    if code == 0:
        (folder / ".whole").touch()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
