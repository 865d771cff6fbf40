#!/usr/bin/env bash
# Make the virtual environment DIR with everything in requirements.lock and this checkout, editable.
#   scripts/bootstrap.sh DIR        PYTHON names the interpreter (3.11 or newer; default python3)
set -euo pipefail

dir=${1:?usage: bootstrap.sh DIR}
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "bootstrap: $python is $("$python" --version 2>&1); set PYTHON to Python 3.11 or newer" >&2
  exit 1
}
[ -x "$dir/bin/python" ] || "$python" -m venv "$dir"
[ -x "$dir/bin/uv" ] || "$dir/bin/python" -m pip install --quiet --disable-pip-version-check uv
# Byte code is made now, once: without it the first run of every command is three times slower.
export UV_LINK_MODE=copy UV_HTTP_TIMEOUT=180
uv() { "$dir/bin/uv" "$@" --python "$dir/bin/python"; }
uv pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
uv pip install --quiet --no-deps --editable .
