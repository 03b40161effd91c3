# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that can't be reached any more right before its switch, and is back before the playbook has ended."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from integration.small_stack import HOSTS, WANTED, SmallStack


def outcomes(small: SmallStack, host: str) -> list[str]:
    """How a host's transactions ended, the restore point's apart; empty for one that is open."""
    found = []
    for directory in sorted((small.base / "state" / host / "transactions").glob("2*")):
        file = directory / "outcome.json"
        found.append(json.loads(file.read_text())["outcome"] if file.exists() else "")
    return found


def test_it_does_nothing_more_of_the_plan_and_the_playbook_ends_with_an_error(tmp_path: Path) -> None:
    small = SmallStack(tmp_path)
    temporary = {host: tmp_path / "tmp" / host for host in HOSTS}
    # Without a place for temporary files, Ansible calls a host unreachable.
    small.variables["ansible_pipelining"] = False
    small.variables["ansible_remote_tmp"] = f"{tmp_path}/tmp/{{{{ inventory_hostname }}}}"
    away, gone = tmp_path / "away", temporary["web2"]
    lost = {"name": "lose the host", "host": "web2", "command": ["sh", "-c", f"mv {gone} {away} && touch {gone}"]}
    small.damage()

    def come_back() -> None:
        """Once the others have undone, or it is over."""
        journals = small.base / "state" / "web1" / "transactions"
        while play.poll() is None and not any(
            '"undone"' in path.read_text() for path in journals.glob("2*/journal.jsonl")
        ):
            time.sleep(0.05)
        gone.unlink()
        away.rename(gone)

    play = small.start("multi_rollback", rollback_hooks={"around_switch": [lost]}, **WANTED)
    back = threading.Thread(target=come_back)
    back.start()
    said, complaints = play.communicate()
    back.join()
    assert play.returncode != 0, said + complaints
    assert "UNREACHABLE" in said
    assert "Switch every component" not in said.rpartition("End with an error")[2]
    # It has joined what was decided without it; the host that keeps the decision had not heard of it yet.
    assert [outcomes(small, host) for host in HOSTS] == [[""], ["undone"]]
    assert [small.settings(number).read_text() for number in (1, 2)] == ["MODE=broken\n"] * 2
    recovered = small.play("recover")
    assert recovered.returncode == 0, recovered.stdout
    assert all(outcomes(small, host) == ["undone"] for host in HOSTS)
    assert [small.settings(number).read_text() for number in (1, 2)] == ["MODE=broken\n"] * 2
