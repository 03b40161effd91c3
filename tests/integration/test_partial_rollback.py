# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook partial_rollback: some tables of a running stack's database, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from support.demo_site import ROOT
from support.play import Ended
from support.rollback_stack import FAILING, RollbackStack

#: Damage to the rows of one table, the newest rows of the others left as people wrote them.
LOST = "UPDATE post_section SET body = md5(body) WHERE id % 3 = 0; DELETE FROM post_section WHERE id % 97 = 1"
#: Tables that went back have no way back as a whole.
ACCEPTED = {"rollback_accept": "no_undo"}
NEWER = "UPDATE post SET title = 'edited since' WHERE id = 7"
#: By the catalogue: everything beside rows that a dropped table would have taken along.
AROUND = (
    "SELECT count(*) FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid WHERE t.relname ~ '^post'"
    " UNION ALL SELECT 'post_section'::regclass::oid UNION ALL SELECT count(*) FROM pg_indexes WHERE tablename ~ '^post'"
)


@pytest.fixture
def lost(healthy: RollbackStack) -> RollbackStack:
    """The stack with one damaged table, and a newer row in another."""
    healthy.site.psql(f"{NEWER}; {LOST}")
    return healthy


def back(stack: RollbackStack, *words: str, **values: Any) -> Ended:
    """Run the playbook."""
    return stack.play("partial_rollback", *words, **{"rollback_point": "last_good", **values})


def test_partial_database_rollback(lost: RollbackStack) -> None:
    then, around, pids = lost.site.snapshot(), lost.site.psql(AROUND), lost.pids()
    assert {name for name in lost.good if then[name] != lost.good[name]} == {"post", "post_section"}

    planned = back(lost, "--check", "--diff", rollback_tables="post_section")
    assert planned.status == 0, planned.said
    assert "discards public.post_section" in planned.words
    assert "public.post" in planned.words
    assert "For real add -e rollback_accept=no_undo, since tables:blog on demo_db can't be undone" in planned.words
    assert (lost.site.snapshot(), lost.pids()) == (then, pids)

    ended = back(lost, rollback_tables="[public.post_section]", **ACCEPTED)
    assert ended.status == 0, ended.said
    assert ended.outcome == "rolled_back"
    assert lost.site.snapshot() == {**then, "post_section": lost.good["post_section"]}
    assert lost.site.psql(AROUND) == around
    assert set(lost.health().values()) == {200}
    assert "schema lastgood_previous" in ended.words
    side = next(word.rstrip(",") for word in ended.words.split() if "_lastgood_" in word)
    kept = lost.site.psql('SELECT count(*) FROM lastgood_previous."public.post_section"', side, "postgres")
    assert int(kept) < int(lost.site.psql("SELECT count(*) FROM post_section"))

    again = back(lost, rollback_tables="post_section")
    assert (again.status, again.outcome) == (0, "nothing_to_do")


@pytest.mark.at_length
def test_tables_are_as_they_were_when_the_checks_fail_afterwards(lost: RollbackStack) -> None:
    """The flow is that of every rollback, which `test_rollback_faults` takes back; how tables are, `test_tables` shows."""
    then = lost.site.snapshot()
    ended = back(lost, rollback_tables="post_section", demo_acceptance=FAILING, **ACCEPTED)
    assert ended.status != 0
    assert ended.outcome == "undone"
    assert lost.site.snapshot() == then
    assert set(lost.health().values()) == {200}
    assert lost.traces()["open"] == []


def test_it_is_refused_before_anything_is_touched_until_the_word_that_it_names_is_given(lost: RollbackStack) -> None:
    before = lost.site.snapshot(), lost.pids(), lost.traces(), lost.states()
    refused = back(lost, rollback_tables="post_section")
    assert (refused.status, refused.outcome) == (2, "refused"), refused.said
    assert (
        "this can't be undone as a whole: tables:blog on demo_db (kept instead: the rows as they were, in a database beside it)"
    ) in refused.words
    assert (lost.site.snapshot(), lost.pids(), lost.traces(), lost.states()) == before
    rehearsed = back(lost, rollback_tables="post_section", rollback_rehearse=True)
    assert (rehearsed.status, rehearsed.outcome) == (0, "rehearsed"), rehearsed.said
    assert (lost.site.snapshot(), lost.pids()) == before[:2]

    (option,) = set(re.findall(r"-e rollback_accept=[\w,]+", refused.words))
    assert f"For real add {option}, since tables:blog" in rehearsed.words
    ended = back(lost, *option.split(), rollback_tables="post_section")
    assert (ended.status, ended.outcome) == (0, "rolled_back"), ended.said
    assert lost.site.snapshot()["post_section"] == lost.good["post_section"]


@pytest.mark.at_length  # unit/…/test_no_undo.py: a database's own accept
def test_the_catalogue_may_say_so_for_its_database(lost: RollbackStack) -> None:
    text = (ROOT / "inventory" / "demo" / "group_vars" / "all" / "stack.yml").read_text(encoding="utf-8")
    databases = yaml.safe_load(text)["rollback_databases"]
    databases["blog"]["accept"] = ["no_undo"]
    ended = back(lost, rollback_tables="post_section", rollback_databases=databases)
    assert (ended.status, ended.outcome) == (0, "rolled_back"), ended.said
    assert lost.site.snapshot()["post_section"] == lost.good["post_section"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rollback_tables": "post_sections"}, "There is no table post_sections"),
        # `test_plan` shows both without a stack.
        pytest.param({}, "Which tables? Name them", marks=pytest.mark.at_length),
        pytest.param(
            {"rollback_tables": "post", "rollback_components": "tables,database"},
            "choose one of database and tables",
            marks=pytest.mark.at_length,
        ),
    ],
)
def test_wrong_options_are_refused_before_anything_is_touched(
    healthy: RollbackStack, values: dict[str, str], said: str
) -> None:
    then, pids = healthy.site.snapshot(), healthy.pids()
    ended = back(healthy, **values)
    assert (ended.status != 0, ended.outcome) == (True, "refused")
    assert said in ended.words
    assert (healthy.site.snapshot(), healthy.pids()) == (then, pids)
