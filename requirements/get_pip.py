# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch the wheel of pip that setup.txt names, into a directory, and print its path: get_pip.py DIRECTORY.

For a Python without ensurepip, as Debian's is unless python3-venv is installed. Needs the standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import urllib.parse
import urllib.request
from pathlib import Path

LOCK = Path(__file__).with_name("setup.txt")


def main() -> None:
    lock = LOCK.read_text(encoding="utf-8")
    version = re.search(r"^pip==(\S+)", lock, re.MULTILINE)
    if version is None:
        sys.exit(f"{LOCK} does not name pip: make lock")
    name = f"pip-{version[1]}-py3-none-any.whl"
    # The index that pip itself would ask.
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    question = urllib.request.Request(f"{index}/pip/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(question, timeout=60) as answer:
        (url,) = (file["url"] for file in json.load(answer)["files"] if file["filename"] == name)
    with urllib.request.urlopen(urllib.parse.urljoin(f"{index}/pip/", url), timeout=60) as answer:
        content = answer.read()
    digest = hashlib.sha256(content).hexdigest()
    if f"--hash=sha256:{digest}" not in lock:
        sys.exit(f"{url} is not what {LOCK} names: its sha256 is {digest}")
    target = Path(sys.argv[1]) / name
    target.write_bytes(content)
    print(target)


if __name__ == "__main__":
    main()
