# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application that nobody here wrote, upgraded by its own migrations, broken, and taken back: `make foreign-application`."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign.pulp import NEWER, OLDER, WANTED, Pulp
from support.postgres_server import running_server


def account() -> str:
    """Who runs the application: somebody without rights, where we are root."""
    return "www-data" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture(scope="module")
def deployed() -> Iterator[Pulp]:
    """Pulp in its older release, captured."""
    base = Path(tempfile.mkdtemp(prefix="lgpulp"))
    base.chmod(0o755)
    with running_server() as server:
        pulp = Pulp(server, base, account())
        if os.geteuid() == 0:
            shutil.chown(base, pulp.account)
        try:
            pulp.deploy()
            yield pulp
        finally:
            pulp.stop()
            shutil.rmtree(base)


@pytest.fixture
def pulp(deployed: Pulp) -> Pulp:
    """Upgraded and broken in each of its parts, whatever a test before has left."""
    deployed.damage()
    assert deployed.release == NEWER
    assert deployed.status() != 200
    return deployed


def words(done: subprocess.CompletedProcess[str]) -> str:
    """What a playbook printed, with every run of blanks as one: tables wrap lines."""
    return " ".join((done.stdout + done.stderr).split())


def test_it_is_back_in_its_older_release_and_the_rollback_can_be_undone(pulp: Pulp) -> None:
    broken = pulp.snapshot()
    done = pulp.play("multi_rollback", **WANTED)
    assert done.returncode == 0, words(done)
    assert pulp.release == OLDER
    assert pulp.snapshot() == pulp.good
    assert (pulp.status(), set(pulp.programs().values())) == (200, {"RUNNING"})
    identity = pulp.newest_transaction()
    undone = pulp.play("undo_rollback", rollback_id=identity)
    assert undone.returncode == 0, words(undone)
    assert pulp.release == NEWER
    assert pulp.snapshot() == broken


def test_a_schema_rollback_is_refused_with_the_numbers_and_goes_on_once_it_is_accepted(pulp: Pulp) -> None:
    broken = pulp.snapshot()
    wanted = {"rollback_point": "last_good", "rollback_components": ["schema", "code", "files", "packages"]}
    refused = pulp.play("schema_rollback", **wanted)
    assert refused.returncode != 0
    assert "rows_set_aside" in words(refused), words(refused)
    assert re.search(r"3 of \d+ rows of database pulp would leave their tables", words(refused)), words(refused)
    assert "1 of public.core_exporter" in words(refused), words(refused)
    assert pulp.snapshot() == broken
    accepted = {"rollback_accept": ["rows_set_aside"], "rollback_max_rows_set_aside": 10}
    done = pulp.play("schema_rollback", **wanted, **accepted)
    assert done.returncode == 0, words(done)
    assert (pulp.release, pulp.status()) == (OLDER, 200)
    assert pulp.snapshot()["schema"] == pulp.good["schema"]
    assert pulp.snapshot()["table django_migrations"] == pulp.good["table django_migrations"]
    # Two of one name, and the older release knows one: the other is set aside, with the two rows that belong to it.
    assert pulp.count("core_exporter") == 1
    assert re.search(r"Rolled back without 3 of \d+ rows", words(done)), words(done)
    # People's work of the newer release is there.
    assert pulp.psql("SELECT count(*) FROM core_contentartifact WHERE relative_path LIKE 'since-the-upgrade-%'") != "0"


def test_a_second_command_after_a_crash_names_the_open_transaction_and_recover_ends_it(pulp: Pulp) -> None:
    broken = pulp.snapshot()
    process = pulp.start("multi_rollback", **WANTED)
    pulp.until_journalled("db1", "switched")
    pulp.kill(process)
    identity = pulp.newest_transaction()
    again = pulp.play("multi_rollback", **WANTED)
    assert again.returncode != 0
    assert identity in words(again), words(again)
    assert "lastgood.rollback.recover" in words(again), words(again)
    assert "Nothing to do" not in again.stdout
    recovered = pulp.play("recover")
    assert recovered.returncode == 0, words(recovered)
    assert identity in words(recovered)
    assert pulp.snapshot() in (broken, pulp.good)
