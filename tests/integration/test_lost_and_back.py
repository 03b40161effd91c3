# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that can't be reached any more in the middle of the flow, and is back before the playbook has ended."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.small_stack import HOSTS, WANTED, SmallStack


class Unsteady:
    """A small stack whose second host is lost when `command` runs on it, until Ansible has noticed."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stack = SmallStack(base)
        self.log = base / "ansible.log"
        monkeypatch.setenv("ANSIBLE_LOG_PATH", str(self.log))
        # Without a place for temporary files, Ansible calls a host unreachable.
        self.stack.variables["ansible_pipelining"] = False
        self.stack.variables["ansible_remote_tmp"] = f"{base}/tmp/{{{{ inventory_hostname }}}}"
        self.place, self.away = base / "tmp" / "web2", base / "away"
        self.command = ["sh", "-c", f"mv {self.place} {self.away} && touch {self.place}"]

    def play(self, playbook: str, **values: Any) -> tuple[int, str]:
        """Run a playbook to its end; its status, and what it said."""
        play = self.stack.start(playbook, **values)

        def come_back() -> None:
            while play.poll() is None and "UNREACHABLE" not in (self.log.read_text() if self.log.exists() else ""):
                time.sleep(0.05)
            self.place.unlink()
            self.away.rename(self.place)

        back = threading.Thread(target=come_back)
        back.start()
        said, complaints = play.communicate()
        back.join()
        assert "UNREACHABLE" in said, said + complaints
        return play.returncode, said

    def outcomes(self, host: str) -> list[str]:
        """How a host's transactions ended; empty for one that is open."""
        found = []
        for directory in sorted((self.stack.base / "state" / host / "transactions").glob("2*")):
            file = directory / "outcome.json"
            found.append(json.loads(file.read_text())["outcome"] if file.exists() else "")
        return found


@pytest.fixture
def unsteady(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Unsteady:
    return Unsteady(tmp_path, monkeypatch)


def test_it_does_nothing_more_of_the_plan_and_the_playbook_ends_with_an_error(unsteady: Unsteady) -> None:
    small = unsteady.stack
    small.damage()
    lost = {"name": "lose the host", "host": "web2", "command": unsteady.command}
    status, said = unsteady.play("multi_rollback", rollback_hooks={"around_switch": [lost]}, **WANTED)
    assert status == 2, said
    assert "Switch every component" not in said.rpartition("End with an error")[2]
    # It has joined what was decided without it; the host that keeps the decision had not heard of it yet.
    assert [unsteady.outcomes(host) for host in HOSTS] == [[""], ["undone"]]
    assert [small.settings(number).read_text() for number in (1, 2)] == ["MODE=broken\n"] * 2
    recovered = small.play("recover")
    assert recovered.returncode == 0, recovered.stdout
    assert all(unsteady.outcomes(host) == ["undone"] for host in HOSTS)
    assert [small.settings(number).read_text() for number in (1, 2)] == ["MODE=broken\n"] * 2


def test_a_capture_that_lost_a_host_is_not_good_and_ends_with_an_error(unsteady: Unsteady) -> None:
    small = unsteady.stack
    small.variables["rollback_projects"]["app2"]["checks"]["commands"] = [unsteady.command]
    status, said = unsteady.play("capture", restore_point_name="lost")
    assert status == 2, said
    assert "NOT CAPTURED" in said
    shown = small.play("multi_rollback", "--check", rollback_point="lost", rollback_components=["files"])
    assert shown.returncode != 0, shown.stdout
