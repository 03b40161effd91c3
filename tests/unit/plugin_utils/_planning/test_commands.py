# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Printed commands carry what the play was run with, and nothing that may be a secret."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.commands import _completed, play_options

ROOT = Path(__file__).resolve().parents[4]
RECOVER = "ansible-playbook lastgood.rollback.recover"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, []),
        ({"inventory": ["/srv/hosts", "db1,"]}, ["-i", "/srv/hosts", "-i", "db1,"]),
        (
            {"vault_password_files": ["/v"], "vault_ids": ["prod@/p"]},
            ["--vault-password-file", "/v", "--vault-id", "prod@/p"],
        ),
        ({"extra_vars": ["@blog.yml"]}, ["-e", "@blog.yml"]),
        ({"extra_vars": ["rollback_stack=blog password=secret"]}, ["-e", "rollback_stack=blog"]),
        (
            {"extra_vars": ['{"rollback_state_dir": "/a b", "rollback_point": "x"}']},
            ["-e", '{"rollback_state_dir": "/a b"}'],
        ),
        ({"extra_vars": ["{broken", "[1]", "password"]}, []),
        ({"become": True, "become_ask_pass": True, "remote_user": "deploy"}, ["-u", "deploy", "-b", "-K"]),
    ],
)
def test_what_a_play_was_run_with(options: dict[str, Any], words: list[str]) -> None:
    assert play_options(options) == words


def test_every_command_is_completed_once_wherever_it_stands() -> None:
    told = {"rows": [["Next", f"then: {RECOVER} -e rollback_id=1-blog"]], "title": "none", "downtime_ms": 5}
    once = _completed(told, " -i hosts", by_name=True)
    assert once == {
        "rows": [["Next", f"then: {RECOVER} -i hosts -e rollback_id=1-blog"]],
        "title": "none",
        "downtime_ms": 5,
    }
    assert _completed(once, " -i hosts", by_name=True) == once
    become = _completed(told, " -b", by_name=True)
    assert become["rows"] == [["Next", f"then: {RECOVER} -b -e rollback_id=1-blog"]]
    assert _completed(become, " -b", by_name=True) == become


def test_where_the_collection_is_not_installed_its_playbooks_are_files() -> None:
    words = shlex.split(_completed(f"{RECOVER} -e rollback_id=1-blog", " -i hosts", by_name=False))
    assert Path(words[1]).samefile(ROOT / "playbooks" / "recover.yml")
    assert words[2:] == ["-i", "hosts", "-e", "rollback_id=1-blog"]


def test_a_role_writes_no_command_that_is_not_completed() -> None:
    """What it says itself, in a task that fails, goes through no filter that would do it."""
    command = re.compile(r"ansible-playbook lastgood\.rollback\.\w+(?P<more>[^\n]*\n[^\n]*)")
    found = [
        f"{path.relative_to(ROOT)}: {each[0]}"
        for path in ROOT.glob("roles/*/tasks/**/*.yml")
        for each in command.finditer(path.read_text(encoding="utf-8"))
        if "lastgood.rollback.as_typed" not in each["more"]
    ]
    assert found == []


def test_no_message_names_a_playbook_as_a_file() -> None:
    """What a command does not write out in full can't be completed."""
    short = re.compile(r"\b(?:ansible-playbook|Usage:|[Rr]un) \w+\.yml\b")
    sources = [*ROOT.glob("plugins/**/*.py"), *ROOT.glob("roles/*/tasks/**/*.yml"), *ROOT.glob("roles/*/templates/*")]
    texts = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in sources}
    assert [f"{path}: {found[0]}" for path, text in texts.items() for found in short.finditer(text)] == []
