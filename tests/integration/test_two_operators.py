# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two operators who roll the same stack back at the same moment: at most one proceeds, and the other is told whose it is."""

from __future__ import annotations

import os
from pathlib import Path

from support.small_stack import HOSTS, WANTED, SmallStack

#: Each time costs two playbooks; ``make operators`` does it twenty times.
TIMES = int(os.environ.get("LASTGOOD_OPERATORS", "3"))
NAMES = ("day shift", "night shift")


def test_of_two_operators_at_once_at_most_one_proceeds_and_the_other_is_told_who_holds_it(tmp_path: Path) -> None:
    small = SmallStack(tmp_path)
    refused = 0
    for _time in range(TIMES):
        small.damage()
        plays = [small.start("multi_rollback", **WANTED, rollback_operator=name) for name in NAMES]
        ended = [play.communicate() for play in plays]
        words = [" ".join(said.split()) for said, _complaints in ended]
        kept = [
            number for number, said in enumerate(words) if "Rolled back: everything is at the restore point" in said
        ]
        assert len(kept) == 1, words
        assert plays[kept[0]].returncode == 0
        late = words[1 - kept[0]]
        if "Nothing to do" not in late:  # it came when the first one had long finished
            assert plays[1 - kept[0]].returncode != 0
            # It was told before it planned, or, where both had planned already, when it began.
            early = "is still open; nothing was touched by this run" in late
            assert early or ("REFUSED: nothing was touched" in late and "stack blog is held by transaction" in late)
            assert f"by {NAMES[kept[0]]}" in late
            refused += 1
        settings = {small.settings(number).read_text() for number in (1, 2)}
        assert settings == {"MODE=good\n"}
        assert [path for path in transactions(small) if not (path / "outcome.json").exists()] == [], "a lock is left"
    assert refused > 0, "they never met"


def transactions(small: SmallStack) -> list[Path]:
    """The directories of the transactions on both hosts."""
    return [path for host in HOSTS for path in (small.base / "state" / host / "transactions").glob("2*")]
