#!/bin/sh
# Install labctl from this bundle, on a machine without a network: sh install-controller.sh [ENVIRONMENT]
# Needs a Python @PYTHON@ (PYTHON=/path names one). Everything goes into ENVIRONMENT (default: ./labctl-env);
# an inventory with this machine as `local` is made in the current folder where there is none.
set -eu
version=@PYTHON@
bundle=$(CDPATH="" cd -- "$(dirname -- "$0")" && pwd)
environment=${1:-labctl-env}

fail() {
    printf 'install-controller: %s\n' "$1" >&2
    exit 1
}

# A name that exists need not run.
find_python() {
    for name in ${PYTHON:-"python$version" python3 python "/usr/local/bin/python$version" "/opt/conda/bin/python$version"}; do
        if "$name" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "this bundle's labctl runs on Python $version, and there is none: name it with PYTHON=/path/to/python$version,
or make the bundle for the Python that is here"
}

python=$(find_python) || exit 1
"$python" -I "$bundle/check_bundle.py" --all "$bundle"

# uv is one program in a wheel, and a wheel is a zip archive.
mkdir -p "$environment"
environment=$(CDPATH="" cd -- "$environment" && pwd)
uv=$environment/uv
"$python" -I - "$bundle/joined/wheels" "$uv" <<'END'
import glob, os, sys, zipfile
[wheel] = glob.glob(os.path.join(sys.argv[1], "uv-*.whl"))
with zipfile.ZipFile(wheel) as archive:
    [name] = [name for name in archive.namelist() if name.endswith(".data/scripts/uv")]
    with open(sys.argv[2] + ".part", "wb") as out:
        out.write(archive.read(name))
os.chmod(sys.argv[2] + ".part", 0o755)
os.replace(sys.argv[2] + ".part", sys.argv[2])
END

unset VIRTUAL_ENV PYTHONPATH PYTHONDONTWRITEBYTECODE
export UV_OFFLINE=1 UV_NO_CONFIG=1 UV_NO_CACHE=1 UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=never
"$uv" venv --quiet --allow-existing --no-project --python "$python" "$environment"
"$uv" pip sync --quiet --python "$environment/bin/python" --no-index --find-links "$bundle/joined/wheels" \
    --find-links "$bundle/joined/controller" --require-hashes --compile-bytecode "$bundle/joined/controller/requirements.lock"
"$uv" pip install --quiet --python "$environment/bin/python" --no-index --no-deps --reinstall --compile-bytecode \
    "$bundle"/joined/controller/labctl-*.whl
# Matplotlib looks for fonts at its first import, for seconds: here, not in the first report.
"$environment/bin/python" -c 'import matplotlib.font_manager'
installed=$("$environment/bin/labctl" --version)

if [ ! -e inventory.ini ] && [ -z "${LABCTL_INVENTORY:-}" ]; then
    printf 'local ansible_connection=local lab_dir=.labctl/local\n' >inventory.ini
fi
cat <<END
$installed is installed in $environment. Next:
  . "$environment/bin/activate"
  labctl provision local --bundle "$bundle"
  labctl run offline
  tar -czf runs.tar.gz runs    # and, back at home: labctl import runs.tar.gz
END
