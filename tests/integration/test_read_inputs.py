# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs as they really come: from an inventory, a play, a command line, and AWX's file of extra variables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

#: The real role, at its entry point that does least.
SHOWN = """
- hosts: all
  gather_facts: false
  vars:
    rollback_components: [tables]
  tasks:
    - ansible.builtin.import_role:
        name: lastgood.rollback.rollback
        tasks_from: history
        rolespec_validate: false
    - ansible.builtin.copy:
        content: "{{ __rollback_inputs | to_json }}"
        dest: "{{ shown }}"
        mode: "0600"
"""


class Awx(yaml.SafeDumper):
    """Writes extra variables as AWX does: no text in them is a template."""


Awx.add_representer(str, lambda dumper, text: dumper.represent_scalar("!unsafe", text, style="'"))


class Inputs:
    """One host that holds nothing, and what is given to its plays."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.variables: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "rollback_stack": "blog",
            "rollback_state_dir": f"{base}/state",
            "shown": f"{base}/shown.json",
        }
        (base / "show.yml").write_text(SHOWN)

    def play(self, playbook: Path, given: Mapping[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
        """Play it with extra variables as AWX writes them."""
        (self.base / "inventory.yml").write_text(
            yaml.safe_dump({"all": {"vars": self.variables, "hosts": {"web1": None}}})
        )
        (self.base / "given.yml").write_text(yaml.dump(dict(given), Dumper=Awx))
        command = ["ansible-playbook", "-i", "inventory.yml", str(playbook), "-e", "@given.yml", *words]
        environment = {**os.environ, "ANSIBLE_HOME": f"{self.base}/ansible", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
        environment["ANSIBLE_COLLECTIONS_PATH"] = str(ROOT / "collections")
        return subprocess.run(command, cwd=self.base, env=environment, capture_output=True, text=True, check=False)

    def shown(self, given: Mapping[str, Any], *words: str) -> dict[str, Any]:
        """What the role made of it."""
        done = self.play(self.base / "show.yml", given, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads((self.base / "shown.json").read_text())
        return found

    def refused(self, playbook: str, given: Mapping[str, Any]) -> str:
        """The one message that a playbook ends with, before it has looked at any host."""
        done = self.play(ROOT / "playbooks" / f"{playbook}.yml", given)
        assert done.returncode == 2, done.stdout + done.stderr
        assert not (self.base / "state").exists()
        assert done.stdout.count("TASK [") == 1, done.stdout
        assert "Nothing was touched: the inputs can't be taken as they are." in done.stdout
        assert "argument_spec" not in done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return Inputs(tmp_path)


def test_a_survey_of_awx_gives_what_it_means(inputs: Inputs) -> None:
    inputs.variables["report_keep_days"] = "7"
    given = {
        "rollback_rehearse": "false",
        "rollback_allow_schema_mismatch": "no",
        "rollback_allow_unverified": "0",
        "rollback_only": "core\nplanning\n",
        "rollback_tables": "public.post,public.section",
        "rollback_files": '["app.py", "config.py"]',
        "rollback_renames": '{"blog": {"public.post": "article"}}',
        "rollback_lock_timeout": "5",
        "rollback_point": "'1.10'",
        "rollback_id": "null",
        "rollback_source": "None",
        "rollback_orphans": "",
        "rollback_components": "",  # hides nothing: neither what a play chose
        "rollback_state_dir": "",  # nor what stands in the inventory
    }
    found = inputs.shown(given)
    assert {name: found[name] for name in given} == {
        "rollback_rehearse": False,
        "rollback_allow_schema_mismatch": False,
        "rollback_allow_unverified": False,
        "rollback_only": ["core", "planning"],
        "rollback_tables": ["public.post", "public.section"],
        "rollback_files": ["app.py", "config.py"],
        "rollback_renames": {"blog": {"public.post": "article"}},
        "rollback_lock_timeout": 5,
        "rollback_point": "1.10",
        "rollback_id": None,
        "rollback_source": None,
        "rollback_orphans": "fail",
        "rollback_components": ["tables"],
        "rollback_state_dir": f"{inputs.base}/state",
    }
    assert not {"rollback_databases", "rollback_projects", "rollback_hooks"} & found.keys()


def test_a_command_line_gives_what_it_means(inputs: Inputs) -> None:
    words = "rollback_point=1.10 rollback_rehearse=no rollback_commits=0012345,9e10 rollback_confirm_timeout=90"
    found = inputs.shown({}, "-e", words)
    assert found["rollback_point"] == "1.10"
    assert found["rollback_rehearse"] is False
    assert found["rollback_commits"] == ["0012345", "9e10"]
    assert found["rollback_confirm_timeout"] == 90
    assert found["rollback_operator"]


def test_all_that_is_wrong_is_refused_together_before_anything_is_looked_at(inputs: Inputs) -> None:
    """Of names that are not text any more, of misspelt variables wherever they stand, and of what is of no use."""
    inputs.variables.update({"notify_webhook": [], "check_mk_port": 6556, "rollback_other_variables": "check_mk_*"})
    given = {
        "rollback_point": "1.10",  # as AWX writes it: a number for core 2.19 and newer
        "rollback_tabels": "public.post",
        "rollback_rehearse": "perhaps",
        "check_health": "well",
        "report_keep_days": "a week",
    }
    said = inputs.refused("multi_rollback", given)
    for one in (
        "rollback_point: arrived as 1.1; quote it",
        "rollback_tabels: there is no such input; did you mean rollback_tables?",
        "notify_webhook: there is no such input; did you mean notify_webhooks?",
        "rollback_rehearse: must be true or false, not 'perhaps'",
        "check_health: is a result of this collection, not an input; leave it out",
        "report_keep_days: must be a whole number, not 'a week'",
    ):
        assert one in said, said
    assert "check_mk_port" not in said


def test_what_to_go_back_to_is_named_never_guessed(inputs: Inputs) -> None:
    for nothing in ({}, {"rollback_point": ""}):
        said = inputs.refused("multi_rollback", nothing)
        assert "rollback_point: is not given. What to go back to; a restore point's name, or last_good" in said


@pytest.mark.parametrize("name", ["1.10", "2026-11-23", "no"])
def test_a_capture_refuses_a_name_that_is_not_read_as_text_everywhere(inputs: Inputs, name: str) -> None:
    done = inputs.play(ROOT / "playbooks" / "capture.yml", {}, "-e", f"restore_point_name={name}")
    assert done.returncode == 2
    assert f"restore_point_name: '{name}' is not read as text everywhere" in done.stdout
    assert not (inputs.base / "state").exists()
