# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults of real hosts are left out where there can be no hosts, and only there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lab_stack import ROOT

NOBODY_LISTENS = "http://127.0.0.1:9/debian"


def run(directory: Path, *prefix: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program that make test ends with, for a lab of its own that has no image yet."""
    places = {"PYTHONPATH": f"{ROOT}/collections:{ROOT}/tests", "LASTGOOD_LAB_DIR": str(directory / "lab")}
    words = [*prefix, sys.executable, "-m", "faults.where_possible"]
    env = {**os.environ, **places, **environment}
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, env=env)


def test_a_system_that_allows_no_containers_is_told_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("The faults of real hosts were left out: this system does not let us start processes")


def test_a_mirror_out_of_reach_is_told_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, LAB_MIRROR=NOBODY_LISTENS)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("The faults of real hosts were left out: Debian's packages are out of reach")
    assert NOBODY_LISTENS in line


def test_an_image_that_could_be_built_and_is_not_is_a_failure(tmp_path: Path) -> None:
    broken = tmp_path / "mmdebstrap"
    broken.write_text("#!/bin/sh\nexit 3\n", encoding="ascii")
    broken.chmod(0o755)
    done = run(tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "This machine can have a lab, and yet it does not work: The image could not be built" in done.stderr
