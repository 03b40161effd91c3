# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No program runs without an end."""

from __future__ import annotations

import ast
import os
import re
import time
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import TIMEOUT_S, CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import VARIABLE, shown

UTILS = Path(__file__).resolve().parents[4] / "plugins" / "module_utils"


def test_a_runner_has_a_limit_of_its_own_and_hands_it_on() -> None:
    assert CommandRunner().timeout == TIMEOUT_S
    limited = CommandRunner().limited(0.5)
    assert limited.as_user(None).with_env({"A": "b"}).timeout == 0.5
    assert CommandRunner(env={"A": "b"}).limited(1).env == {"A": "b"}


def test_what_does_not_end_is_ended_together_with_what_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    with pytest.raises(CommandFailed, match=r"Waiting failed: sh ended with -9: .*no end after 1 s; it was stopped"):
        CommandRunner().limited(1).run(["sh", "-c", f"sleep 600 & echo $! > {child}; wait"], "Waiting")
    _until_gone(child)


def test_a_filter_that_does_not_end_is_ended_too(tmp_path: Path) -> None:
    child = tmp_path / "child"
    with (
        pytest.raises(CommandFailed, match="no end after 1 s"),
        Path(os.devnull).open("rb") as nothing,
        CommandRunner().stream(
            ["sh", "-c", f"echo some; echo $$ > {child}; exec sleep 600"], "Unpacking", nothing, 1
        ) as said,
    ):
        assert said.readline() == b"some\n"
        assert said.read() == b""
    _until_gone(child)


def test_a_program_that_takes_long_is_told_to_whoever_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It watches for itself, and ends when it has read so."""
    board = tmp_path / "board"
    monkeypatch.setenv(VARIABLE, str(board))
    watching = ["sh", "-c", f"until grep ended {board}; do sleep 0.1; done"]
    with shown():
        read = CommandRunner().limited(80).run(watching, "Resetting /srv/app")
    assert re.fullmatch(r"Resetting /srv/app: for \d+ s, ended after 80 s", read.stdout.strip())


def test_nobody_starts_a_program_around_the_runner() -> None:
    """But for the timer, which has to outlive its module."""
    starting = [
        str(path.relative_to(UTILS))
        for path in UTILS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) and any(name.name == "subprocess" for name in node.names)
    ]
    assert sorted(starting) == ["_base/command.py", "_engine/timer.py"]


def _until_gone(pid_file: Path) -> None:
    """The kernel takes its time to end a process that was killed."""
    deadline = time.monotonic() + 60
    while "sleep" in _cmdline(pid_file):
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.05)


def _cmdline(pid_file: Path) -> str:
    try:
        return Path(f"/proc/{pid_file.read_text().strip()}/cmdline").read_text()
    except FileNotFoundError:
        return ""
