# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rehearsal says what the rollback would take and discard, how long each phase took, and that nothing live moved."""

from __future__ import annotations

import hashlib
from pathlib import Path

from support.small_stack import SmallStack


def digests(small: SmallStack) -> dict[str, str]:
    """Every file of both projects, git's own among them."""
    files = [path for name in ("app1", "app2") for path in (small.base / name).rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_rehearsal_predicts_and_proves_that_nothing_live_moved(tmp_path: Path) -> None:
    small = SmallStack(tmp_path)
    small.damage()
    before = digests(small)
    done = small.play("rehearse", rollback_point="last_good")
    assert done.returncode == 0, done.stdout + done.stderr
    assert digests(small) == before
    said = " ".join(done.stdout.split())
    assert "Rehearsed: it would work, and the live system was not touched" in said
    assert "Would take standstill about 0.0 s of switching" in said
    assert "Would take disk about 0 MB more while prepared" in said
    assert f"Would discard {small.settings(1)} is replaced (MODE)" in said
    assert "Live system 4 of 4 components looked at again: as they were" in said
    assert "Time prepare " in said
