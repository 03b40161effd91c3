# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that end, and files that are closed, while one looks at them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.processes import all_pids, open_files


def test_files_behind_one_that_was_closed_are_found(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("closed", "open")]
    closed, still = (os.open(path, os.O_CREAT | os.O_RDWR) for path in paths)
    # Listing our own files takes the number that is free now, and is closed again before the links are read.
    os.close(closed)
    try:
        assert str(paths[1]) in open_files(os.getpid())
        assert str(paths[0]) not in open_files(os.getpid())
    finally:
        os.close(still)


def test_a_process_that_has_ended_has_none() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert child.pid in all_pids()
    assert open_files(child.pid)
    child.communicate(b"\n")
    assert open_files(child.pid) == set()
