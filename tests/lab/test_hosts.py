# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole flow on real hosts: over SSH, with become, systemd units, and a database reached over the network."""

from __future__ import annotations

import re
import time

from lab_stack import Stack, kill, wait_until

# Of the lab itself: the stack has made them importable.
import snapshots  # isort: skip
import machines  # isort: skip
import reach  # isort: skip

#: Seconds of silence after which hosts undo: more than the slowest single call of a busy machine.
SILENCE_S = 30


def services(stack: Stack) -> set[str]:
    """The states of all units of the stack."""
    return {snapshots.state(stack.lab, host, project.name) for host, project in snapshots.deployed(stack.lab)}


def tombstones(stack: Stack) -> list[str]:
    """Hosts that have undone a transaction that is still open."""
    command = 'cd /var/lib/lastgood/transactions && for id in *; do [ -e "$id/outcome.json" ] ||'
    command += ' { [ -e "$id/tombstone" ] && grep -q "\\"event\\": \\"undone\\"" "$id/journal.jsonl" && echo "$id"; }; done; true'
    return [host.name for host in stack.lab.hosts if stack.on(host.name, command)]


def test_everything_comes_back(broken: Stack) -> None:
    before = broken.snapshot()
    assert snapshots.differences(broken.good, before)
    process = broken.rollback()
    said, _none = process.communicate()
    assert process.returncode == 0, said
    assert snapshots.differences(broken.good, broken.snapshot()) == []
    assert set(snapshots.healths(broken.lab).values()) == {200}
    broken.nothing_is_left()


def test_hosts_undo_by_themselves_when_the_controller_dies_after_the_stop(broken: Stack) -> None:
    before = broken.snapshot()
    process = broken.rollback(rollback_confirm_timeout=SILENCE_S)
    broken.wait_for_stop(process)
    kill(process)
    assert any(broken.timers().values())
    wait_until(lambda: len(tombstones(broken)) == len(broken.lab.hosts))
    wait_until(lambda: "inactive" not in services(broken))
    assert snapshots.differences(without_services(before), without_services(broken.snapshot())) == []
    status, said = broken.play("recover")
    assert status == 0, said
    assert snapshots.differences(without_services(before), without_services(broken.snapshot())) == []
    broken.nothing_is_left()


def test_a_boot_without_a_promise_undoes(broken: Stack) -> None:
    before = broken.snapshot()
    host = broken.lab.applications[-1]
    process = broken.rollback(rollback_confirm_timeout=10_000)
    broken.wait_for_stop(process)
    kill(process)
    machines.power_off(broken.podman, host)
    time.sleep(1)
    machines.power_on(broken.podman, host)
    reach.wait_for(broken.lab, host)
    wait_until(lambda: host.name in tombstones(broken))
    assert tombstones(broken) == [host.name], "the others have time left"
    status, said = broken.play("recover")
    assert status == 0, said
    assert snapshots.differences(without_services(before), without_services(broken.snapshot())) == []
    wait_until(lambda: "inactive" not in services(broken))
    broken.nothing_is_left()


def test_a_host_that_is_cut_off_takes_everything_back(broken: Stack) -> None:
    before = broken.snapshot()
    host = broken.lab.applications[-1]
    process = broken.rollback(rollback_confirm_timeout=SILENCE_S)
    broken.wait_for_stop(process)
    machines.cut(broken.podman, host)
    said, _none = process.communicate()
    assert process.returncode != 0, said
    assert re.search(r"lastgood:\s.*outcome: undo_incomplete", said, re.DOTALL)
    assert "No first item" not in said
    machines.join(broken.podman, host)
    wait_until(lambda: host.name in tombstones(broken))
    status, said = broken.play("recover")
    assert status == 0, said
    assert snapshots.differences(without_services(before), without_services(broken.snapshot())) == []
    broken.nothing_is_left()


def without_services(snapshot: snapshots.Snapshot) -> snapshots.Snapshot:
    """All but the units' states: one of a broken stack may be on its way or have failed, by chance."""
    return {name: value for name, value in snapshot.items() if not name.endswith(" service")}
