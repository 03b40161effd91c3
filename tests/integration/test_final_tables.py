# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands at the end of each playbook, for a tired person and for a job template; and what must not fail a rollback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.messengers import free_port
from support.small_stack import ROOT, WANTED, SmallStack


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallStack:
    """A stack with a restore point, and a host that nobody can reach."""
    stack = SmallStack(tmp_path_factory.mktemp("stack"))
    stack.archives["far"] = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": free_port()}
    return stack


def table(said: str, title: str) -> list[str]:
    """The lines of the table with this title."""
    _before, _title, rest = said.partition(f"\n{title}\n")
    assert rest, said
    return rest.partition("\n\n")[0].splitlines()[1:]


def outcome(said: str) -> dict[str, str]:
    """What the play left for job templates."""
    found: dict[str, str] = dict(re.findall(r"(outcome|id|report): (\S+)", said.rpartition("\tRUN: ")[2]))
    return found


def test_a_capture_ends_with_what_it_holds_and_how_to_go_back(small: SmallStack) -> None:
    lines = table(small.captured, "Captured: the restore point is good on all hosts")
    name = next(path.name for path in (small.base / "state" / "web1" / "restore_points").glob("2*"))
    assert lines[0].split() == ["Restore", "point", name]
    for number in (1, 2):
        assert any(line.startswith(f"web{number}") for line in lines)
    assert "Checks         2 of 2 held" in lines
    command = (
        rf"To go back +ansible-playbook lastgood\.rollback\.multi_rollback -i \S+ -e @\S+ -e rollback_point={name}"
    )
    assert re.fullmatch(command, lines[-1])


def test_a_capture_that_is_not_good_says_why_and_fails(small: SmallStack) -> None:
    small.damage()
    done = small.play("capture", restore_point_name="broken")
    assert done.returncode == 2
    lines = table(done.stdout, "NOT CAPTURED: there is no new restore point to go back to")
    words = " ".join(" ".join(lines).split())
    assert "Checks 0 of 2 held FAILED on web1: app1: grep" in words
    assert "Next mend what is named above" in words


def test_neither_the_table_nor_a_lost_host_fails_a_rollback_and_its_outcome_is_left(
    small: SmallStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_SHOW_CUSTOM_STATS", "1")
    broken_table = {"__rollback_report_rows": [[]]}
    done = small.roll_back(report_host="far", report_host_dest=str(small.base / "left"), **broken_table)
    assert done.returncode == 0, done.stdout
    assert "far can't be reached: the report is on the controller only" in " ".join(done.stdout.split())
    assert "Rolled back: everything is at the restore point" in done.stdout
    left = outcome(done.stdout)
    assert (left["outcome"], left["id"]) == ("rolled_back", small.report()["id"])
    assert small.settings(1).read_text() == "MODE=good\n"


def test_a_second_rollback_in_the_same_run_is_refused_before_anything_is_touched(
    small: SmallStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_SHOW_CUSTOM_STATS", "1")
    small.damage()
    twice = small.base / "twice.yml"
    twice.write_text(f"- import_playbook: {ROOT / 'playbooks' / 'multi_rollback.yml'}\n" * 2)
    done = small.play(str(twice.with_suffix("")), **WANTED)
    assert done.returncode == 2, done.stdout + done.stderr
    words = " ".join(done.stdout.split())
    assert "A rollback was played in this run of ansible-playbook already (Rolled back: everything is at" in words
    assert "start ansible-playbook again for it" in words
    left = outcome(done.stdout)
    assert (left["outcome"], left["id"]) == ("rolled_back", small.report()["id"])
    assert small.settings(1).read_text() == "MODE=good\n"


def test_history_and_recovery_end_with_a_table(small: SmallStack) -> None:
    if not small.logs.exists():
        assert small.roll_back().returncode == 0
    lines = table(small.play("history").stdout, "Rollbacks")
    assert lines[0].split() == ["When", "Outcome", "Downtime", "By", "Transaction"]
    identity = small.report()["id"]
    assert re.fullmatch(rf"[\d-]+ [\d:]+  rolled_back  none +\S+ +{identity}", lines[1])
    assert lines[2].strip() == "on web1, web2"
    assert all(len(line) <= 80 for line in lines if "ansible-playbook" not in line)
    assert "Nothing to recover: no transaction is open on web1, web2" in " ".join(small.play("recover").stdout.split())


def test_nothing_is_cut_where_people_copy(small: SmallStack) -> None:
    done = small.roll_back()
    assert done.returncode == 0, done.stdout
    lines = table(done.stdout, "Rolled back: everything is at the restore point, and its checks held")
    pages = [Path(word) for line in lines for word in line.split() if word.endswith(".html")]
    assert pages == [small.reports("html")[-1]]
