#!/usr/bin/env bash
# Make one of labctl's own environments from its hashed lock: bootstrap.sh ENVIRONMENT LOCK
# Needs a Python >= 3.11 (PYTHON= names one); everything it installs lies below .labctl in the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
environment=$1
lock=$2
export UV_CACHE_DIR="$PWD/.labctl/cache/uv" UV_NO_PROGRESS=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Bytecode is written once, here, not at every start of labctl.
unset PYTHONDONTWRITEBYTECODE VIRTUAL_ENV

fail() {
    printf 'bootstrap: %s\n' "$1" >&2
    exit 1
}

# A name that exists need not run: pyenv's shims stand for versions that are not selected.
find_python() {
    local name
    for name in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "labctl needs Python 3.11 or newer and found none: install one, or name it: make PYTHON=/path/to/python3"
}

# Debian and Ubuntu ship Python without ensurepip, in a package of its own.
need_venv() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    local package sudo=()
    package="python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    [ "$(id -u)" = 0 ] || sudo=(sudo -n)
    if command -v apt-get >/dev/null && "${sudo[@]}" true 2>/dev/null; then
        echo "bootstrap: installing the system package $package"
        "${sudo[@]}" apt-get install --yes --no-install-recommends "$package" >&2 ||
            { "${sudo[@]}" apt-get update >&2 && "${sudo[@]}" apt-get install --yes --no-install-recommends "$package" >&2; } ||
            fail "the system package $package could not be installed"
    else
        fail "$1 cannot make environments; run as root, then try again: apt-get install $package"
    fi
}

uv() {
    "$environment/bin/python" ansible/roles/python_env/files/pip_to_uv.py "$environment/bin/uv" "$@"
}

python=$(find_python)
need_venv "$python"
pinned=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' ansible/locks/uv.txt)
if ! "$environment/bin/python" -c '' 2>/dev/null; then
    echo "bootstrap: making $environment with $python"
    "$python" -m venv --clear "$environment"
fi
if [ "$("$environment/bin/uv" --version 2>/dev/null | cut -d' ' -f2)" != "$pinned" ]; then
    "$environment/bin/python" -m pip install --quiet --quiet --require-hashes --requirement ansible/locks/uv.txt
fi
echo "bootstrap: installing $lock into $environment"
uv pip sync --quiet --python "$environment/bin/python" --require-hashes --compile-bytecode "$lock"
uv pip install --quiet --python "$environment/bin/python" --no-deps --build-constraints ansible/locks/build.txt --editable .
# Matplotlib looks for fonts at its first import, for seconds: here, not in the first report.
"$environment/bin/python" -c 'import matplotlib.font_manager'
