# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook database_rollback: one database back to a file that an operator names, on a running stack."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.play import Ended
from support.rollback_stack import FAILING, RollbackStack, journalled

AT_LENGTH = pytest.mark.at_length
TABLES = ("alembic_version", "post", "post_development", "post_section", "columns")


def dump(stack: RollbackStack, form: str) -> tuple[Path, str]:
    """An archive of the live database, as an operator would make it, and its checksum."""
    site = stack.site
    box = site.directory / "run" / f"dump-{form}"
    if box.is_dir():
        shutil.rmtree(box)
    connection = ["-h", site.facts["socket_dir"], "-U", "blog", "-d", "blog"]
    site.as_owner([str(Path(site.facts["postgres_bin"]) / "pg_dump"), f"--format={form}", "-f", str(box), *connection])
    return box, f"sha256:{hashlib.sha256(box.read_bytes()).hexdigest()}" if box.is_file() else ""


def as_superuser(stack: RollbackStack, sql: str, database: str = "blog") -> str:
    """Do something that the owner of the database can't, or in another database."""
    facts = stack.site.facts
    program = str(Path(facts["postgres_bin"]) / "psql")
    return stack.site.as_owner([program, "-XAtqh", facts["socket_dir"], "-U", "postgres", "-d", database, "-c", sql])


def lose_rows(stack: RollbackStack) -> None:
    """What the file has to bring back."""
    stack.site.psql("DELETE FROM post_section WHERE id % 2 = 0")
    stack.site.psql("UPDATE post SET title = 'lost' WHERE id % 3 = 0")


def back_from(stack: RollbackStack, source: Path | str, **values: Any) -> Ended:
    """Run the playbook."""
    return stack.play("database_rollback", rollback_source=str(source), **values)


def test_the_file_comes_back_and_nothing_else_moves(healthy: RollbackStack) -> None:
    source, checksum = dump(healthy, "custom")
    then = healthy.site.snapshot()
    lose_rows(healthy)
    broken, pids = healthy.site.snapshot(), healthy.pids()
    assert {name for name in then if then[name] != broken[name]} == {"post", "post_section"}

    ended = back_from(healthy, source, rollback_checksum=checksum)
    assert ended.status == 0, ended.said
    assert ended.outcome == "rolled_back"
    assert healthy.site.snapshot() == then
    assert set(healthy.health().values()) == {200}
    assert not set(pids.values()) & set(healthy.pids().values()), "every service was stopped and started"
    assert "Rolled back: everything is at the named file" in ended.words
    assert f"{source} ({checksum})" in ended.words
    kept = next(word for word in ended.words.split() if word.endswith("_previous"))
    assert as_superuser(healthy, "SELECT count(*) FROM post WHERE title = 'lost'", kept) == "666"
    assert healthy.traces()["open"] == []


@pytest.mark.at_length
def test_plain_sql_comes_back_as_well(healthy: RollbackStack) -> None:
    """The module takes it in `test_database_sources`; the playbook's part is the same as with an archive."""
    plain, _checksum = dump(healthy, "plain")
    packed = plain.with_name("dump.sql.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    packed.chmod(0o644)
    then = healthy.site.snapshot()
    lose_rows(healthy)
    checksum = f"sha256:{hashlib.sha256(packed.read_bytes()).hexdigest()}"
    ended = back_from(healthy, packed, rollback_checksum=checksum)
    assert (ended.status, ended.outcome) == (0, "rolled_back"), ended.said
    assert healthy.site.snapshot() == then


#: That an empty text is none `test_read_inputs` shows, and that both are too much `test_plan`.
@pytest.mark.parametrize("wrong", ["no file", *(pytest.param(wrong, marks=AT_LENGTH) for wrong in ("empty", "both"))])
def test_without_one_target_it_is_a_usage_error(healthy: RollbackStack, wrong: str) -> None:
    values = {
        "no file": {},
        "empty": {"rollback_source": ""},
        "both": {"rollback_source": "/nowhere", "rollback_point": "last_good"},
    }[wrong]
    before, pids = healthy.site.snapshot(), healthy.pids()
    play = healthy.start("database_rollback", **values)
    ended = play.wait()
    assert ended.status == 2
    assert ("Both a restore point" if wrong == "both" else "rollback_source=/path/on/its/host") in ended.words
    assert (healthy.site.snapshot(), healthy.pids()) == (before, pids)
    assert play.known == {path.name for path in healthy.site.directory.glob("state/*/transactions/2*")}


@pytest.mark.parametrize("which", ["the file", pytest.param("the rest", marks=AT_LENGTH)])
def test_what_can_not_be_trusted_is_refused_with_everything_running(healthy: RollbackStack, which: str) -> None:
    """The rest is refused without a look at the file's content: `test_plan` and `test_database_refusals` show it."""
    source, checksum = dump(healthy, "custom")
    plain, _sum = dump(healthy, "plain")
    with plain.open("a") as stream:
        stream.write("\\! touch /tmp/lastgood-owned\n")
    before, pids, traces = healthy.site.snapshot(), healthy.pids(), healthy.traces()
    refusals: dict[str, list[tuple[Path | str, dict[str, Any], str]]] = {
        "the file": [
            (source, {"rollback_checksum": "sha256:" + "0" * 64}, "sha256"),
            (plain, {"rollback_allow_unverified": "true"}, "command of psql"),
        ],
        "the rest": [
            (source, {}, "no checksum"),
            ("/var/backups/nosuch.dump", {"rollback_checksum": checksum}, "does not exist"),
            (source, {"rollback_checksum": checksum, "rollback_database": "blogs"}, "did you mean 'blog'"),
            (source, {"rollback_checksum": checksum, "rollback_components": "all"}, "A file holds a database"),
        ],
    }
    for path, values, said in refusals[which]:
        ended = back_from(healthy, path, **values)
        assert (ended.status, ended.outcome) == (2, "refused"), ended.said
        assert said.lower() in ended.words.lower(), ended.said
    assert (healthy.site.snapshot(), healthy.pids(), healthy.traces()) == (before, pids, traces)


@pytest.mark.at_length
def test_a_rehearsal_and_a_plan_change_nothing(healthy: RollbackStack) -> None:
    """So `test_rollback_refusals` shows of a restore point; the playbook's part is the same with a file."""
    source, checksum = dump(healthy, "custom")
    before, pids, traces = healthy.site.snapshot(), healthy.pids(), healthy.traces()
    planned = healthy.play("database_rollback", "--check", rollback_source=str(source), rollback_checksum=checksum)
    assert (planned.status, planned.outcome) == (0, "planned"), planned.said
    rehearsed = back_from(healthy, source, rollback_checksum=checksum, rollback_rehearse=True)
    assert (rehearsed.status, rehearsed.outcome) == (0, "rehearsed"), rehearsed.said
    assert (healthy.site.snapshot(), healthy.pids(), healthy.traces()) == (before, pids, traces)


@AT_LENGTH  # test_rollback_faults.py: checks that fail; test_database.py: what was written meanwhile
def test_a_check_that_fails_afterwards_takes_it_back_and_what_was_written_meanwhile_is_counted(
    healthy: RollbackStack,
) -> None:
    source, _checksum = dump(healthy, "custom")
    lose_rows(healthy)
    before = healthy.site.snapshot()
    values = {"rollback_allow_unverified": "true", "demo_acceptance": FAILING}
    play = healthy.start("database_rollback", rollback_source=str(source), **values)
    healthy.wait_for(play, journalled("switched"), "demo_db")
    healthy.site.psql("DELETE FROM post_section WHERE id = (SELECT max(id) FROM post_section)")
    ended = play.wait()
    assert (ended.status, ended.outcome) == (2, "undone"), ended.said
    assert healthy.site.snapshot() == before
    rejected = next(word for word in ended.words.split() if word.endswith("_rejected"))
    now = int(as_superuser(healthy, "SELECT count(*) FROM post_section", rejected))
    assert f"rows written to {rejected}: public.post_section (then {now + 1}, now {now})" in ended.words
    assert set(healthy.health().values()) == {200}
