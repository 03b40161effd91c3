# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attackers are accounts of this machine, have no rights, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from accounts import made

HERE = Path(__file__).parent


def test_an_attacker_is_a_real_account_without_rights_and_is_gone_afterwards(arena: Path) -> None:
    with made(arena / "attacker") as account:
        assert account.run("id", "-u").stdout.split() == [str(account.uid)] != ["0"]
        assert account.run("id", "-G").stdout.split() == [str(account.gid)]
        assert account.run("touch", arena / "theirs", check=False).returncode != 0
        account.write(account.home / "mine", "content\n")
        with account.running("sleep", "600") as sleeping:
            assert os.stat(f"/proc/{sleeping.pid}").st_uid == account.uid
        own = account.home / "mine"
        assert (own.stat().st_uid, own.stat().st_gid) == (account.uid, account.gid)
    assert subprocess.run(["getent", "passwd", account.name], check=False, stdout=subprocess.DEVNULL).returncode == 2


def without_root(tmp_path: Path, what: Path | str) -> subprocess.CompletedProcess[str]:
    """Run tests as an account that may read this clone, wherever that is, and is not root."""
    reading = [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]
    os.chown(tmp_path, 65534, -1)
    options = ["-n", "0", "-o", f"cache_dir={tmp_path / 'cache'}", f"--basetemp={tmp_path / 'inner'}"]
    return subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *reading, "pytest", *options, str(what)],
        check=False,
        capture_output=True,
        text=True,
        cwd=HERE.parents[1],
    )


def test_without_root_the_attacks_fail_instead_of_proving_nothing(tmp_path: Path) -> None:
    done = without_root(tmp_path, HERE)
    assert "tests/attacks makes real accounts, and needs root" in done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.INTERRUPTED


def test_a_test_that_had_to_do_without_another_account_is_named(tmp_path: Path) -> None:
    name = "tests/integration/test_files.py::test_files_of_another_account_stay_its_own"
    done = without_root(tmp_path, name)
    assert done.returncode == 0, done.stdout
    _ran, _section, summary = done.stdout.partition("without another account")
    assert name.partition("::")[2] in summary
