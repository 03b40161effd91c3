# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the switch of a checkout takes, against a plain ``git reset --hard`` of the same checkout.

    make benchmark-reset

``LASTGOOD_FILES`` (50000) is the number of files. The archive of what was there is made in prepare and is not part of it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.component import Code
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.journal import Journal
from support.checkouts import Checkout, make_checkout

FILES = int(os.environ.get("LASTGOOD_FILES", "50000"))
PAIRS = 5
#: One file in so many is changed by the commits that are rolled back.
STEPS = (1000, 10)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Its tag ``all`` has all files; each branch ``every-<step>`` changes some of them."""
    path = tmp_path_factory.mktemp("reset") / "app"
    checkout = make_checkout(path)
    for number in range(FILES):
        checkout.write(
            f"d{number // 500}/f{number}.py", f"# {number}\n" + "VALUE = 'some content of a source file'\n" * 30
        )
    checkout.commit("all", tag="all")
    for step in STEPS:
        checkout.git("checkout", "-q", "-B", f"every-{step}", "all")
        for number in range(0, FILES, step):
            checkout.write(f"d{number // 500}/f{number}.py", f"# {number}, changed\n" + "VALUE = 2\n" * 40)
        checkout.git("commit", "-q", "-a", "-m", "changed")
    return checkout


def plain(checkout: Checkout, branch: str) -> float:
    """Seconds of git alone."""
    checkout.git("status")
    os.sync()  # what was written before is not paid for now
    began = time.monotonic()
    checkout.git("reset", "--hard", "--quiet", "all")
    seconds = time.monotonic() - began
    checkout.git("reset", "--hard", "--quiet", f"{branch}@{{1}}")
    return seconds


def ours(checkout: Checkout, workspace: Path) -> float:
    """Seconds of the switch, which is undone afterwards."""
    workspace.mkdir(mode=0o700)
    journal = Journal(workspace / "journal.jsonl", workspace / "log")
    code = Code(Context("20260101T000000Z-x-0000", workspace, CommandRunner(), journal.change, journal.note))
    plan = code.plan({"path": str(checkout.path), "to": "all"}, None)
    code.prepare(plan)
    os.sync()
    began = time.monotonic()
    code.switch(plan)
    seconds = time.monotonic() - began
    assert checkout.id("HEAD") == checkout.id("refs/tags/all")
    code.undo(plan)
    shutil.rmtree(workspace)
    return seconds


@pytest.mark.parametrize("step", STEPS)
def test_a_switch_takes_little_more_than_a_plain_reset(checkout: Checkout, tmp_path: Path, step: int) -> None:
    """At most 1.3 times; the median of pairs that ran one after the other."""
    branch = f"every-{step}"
    checkout.git("checkout", "-q", branch)
    pairs = [(plain(checkout, branch), ours(checkout, tmp_path / "workspace")) for _pair in range(PAIRS)]
    rival, own = (statistics.median(times) for times in zip(*pairs))
    ratio = statistics.median(own / rival for rival, own in pairs)
    print(f"\n{FILES // step:,} of {FILES:,} files: git {rival:.2f} s, switch {own:.2f} s, ratio {ratio:.2f}")
    assert ratio <= 1.3
