#!/usr/bin/env bash
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Make the tool environment: install.sh DIRECTORY. Everything comes from the lock files, by hash.
set -euo pipefail

venv=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

suitable() { # a name may be there and yet not run (pyenv's shims)
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

python=
for candidate in python3.13 python3.12 python3.11 python3; do
    if suitable "$candidate"; then
        python=$candidate
        break
    fi
done
if [[ -z $python ]]; then
    echo "make setup needs Python 3.11 or newer: none of python3.13, python3.12, python3.11, python3 on PATH is." >&2
    exit 1
fi

if ! suitable "$venv/bin/python"; then
    rm -rf -- "$venv"
    "$python" -m venv --without-pip "$venv"
fi
if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$venv/bin/python" -m ensurepip --default-pip >/dev/null
    pip=("$venv/bin/python" -m pip)
else
    wheel=$("$python" "$here/get_pip.py" "$venv")
    pip=("$venv/bin/python" "$wheel/pip")
fi
"${pip[@]}" install --quiet --disable-pip-version-check --require-hashes -r "$here/setup.txt"
VIRTUAL_ENV=$(cd "$venv" && pwd) "$venv/bin/uv" pip sync --quiet --no-config --require-hashes "$here/development.txt"
"$venv/bin/python" -c '
import platform
from importlib.metadata import version

print("Ready: ansible-core", version("ansible-core") + ", Python", platform.python_version())'
