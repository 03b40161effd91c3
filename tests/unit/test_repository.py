# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the repository promises about itself: metadata, lock files, make's targets, roles and playbooks."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sanity
import yaml
from ansible_collections.lastgood.rollback.plugins.module_utils._base.version import COLLECTION_VERSION
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.kinds.registry import DATABASE_KINDS

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "roles"

ROLE_FILES = ("README.md", "defaults/main.yml", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml")
ROLE_HEADINGS = ("Example", "Inputs", "Outputs", "Idempotent", "Atomic", "Roll-back capabilities")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def roles() -> list[Path]:
    return sorted(path for path in ROLES.glob("*") if path.is_dir())


def locked(name: str) -> dict[str, str]:
    """The versions that a lock file names, by package."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", text, re.MULTILINE))


def test_the_role_undoes_first_what_the_plan_calls_databases() -> None:
    variables = [task.get("vars", {}) for task in read(ROLES / "rollback" / "tasks" / "undo.yml")]
    assert [each["__rollback_undo_kinds"] for each in variables if "__rollback_undo_kinds" in each] == [
        list(DATABASE_KINDS),
        [],
    ]


def test_nothing_comes_from_galaxy() -> None:
    assert read(ROOT / "galaxy.yml")["dependencies"] == {}


def test_manifests_name_the_version_that_is_released() -> None:
    assert read(ROOT / "galaxy.yml")["version"] == COLLECTION_VERSION


def test_the_lowest_ansible_core_is_the_one_that_is_tested() -> None:
    required = read(ROOT / "meta" / "runtime.yml")["requires_ansible"]
    assert re.fullmatch(r">=(\d+\.\d+)\.0", required)
    assert locked("development")["ansible-core"].startswith(required.removeprefix(">=").removesuffix("0"))


def test_modules_with_connection_options_are_in_the_action_group() -> None:
    groups = read(ROOT / "meta" / "runtime.yml")["action_groups"]
    connecting = [
        path.stem
        for path in sorted((ROOT / "plugins" / "modules").glob("*.py"))
        if "- lastgood.rollback.postgres\n" in path.read_text(encoding="utf-8")
    ]
    assert connecting
    assert groups == {"postgresql": connecting}


def test_the_links_make_this_checkout_the_collection() -> None:
    for top in (ROOT / "collections", ROOT / "playbooks" / "collections"):
        link = top / "ansible_collections" / "lastgood" / "rollback"
        assert link.is_symlink()
        assert not link.readlink().is_absolute()
        assert link.resolve() == ROOT


def test_lock_files_hold_what_is_asked_for_by_hash_and_from_anywhere() -> None:
    sources = list((ROOT / "requirements").glob("*.in"))
    assert {source.stem for source in sources} == {path.stem for path in (ROOT / "requirements").glob("*.txt")}
    for source in sources:
        lines = source.read_text(encoding="utf-8").splitlines()
        wanted = {re.split(r"[ ~=<>!]", line)[0].lower() for line in lines if line and not line.startswith("#")}
        versions = locked(source.stem)
        assert wanted <= versions.keys()
        text = source.with_suffix(".txt").read_text(encoding="utf-8")
        entries = re.split(r"\n(?=\S)", text.strip())
        assert {entry.partition("==")[0] for entry in entries} == versions.keys()
        assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
        assert re.findall(r"file:|--index-url|--extra-index-url|--find-links|\s@\s", text) == []


def test_what_installs_is_what_is_installed() -> None:
    assert locked("setup")["uv"] == locked("development")["uv"]


def test_every_target_of_make_says_what_it_does() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = {name for line in re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE) for name in line.split()}
    listing = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    shown = dict(re.findall(r"^  (\S+) +(\S.*)$", listing, re.MULTILINE))
    assert {"help", "setup", "demo", "test", "lint", "clean"} <= phony
    assert shown.keys() == phony


def would_run(target: str) -> str:
    """The commands of a target of make, of what it calls itself as well; none of them is run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--dry-run", target]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


def test_what_make_test_leaves_out_is_in_make_test_all() -> None:
    some, everything = would_run("test"), would_run("test-all")
    for words in ('-m "not at_length"', "--skip-test", "--exclude"):
        assert words in some
        assert words not in everything
    assert "LASTGOOD_ALL_KILLS=1" in everything and "SANITY_PYTHONS=all" in everything
    for words in ("ansible-lint", "tests/sanity.py", "tests/integration", "tests/unit", "faults.where_possible"):
        assert words in some and words in everything


def test_sanity_asks_for_the_oldest_and_the_newest_python_or_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANITY_PYTHONS", "all")
    supported = sanity.required_pythons()
    lowest = yaml.safe_load((ROOT / "tests" / "config.yml").read_text(encoding="utf-8"))["modules"]["python_requires"]
    assert supported[0] == lowest.removeprefix(">=") and len(supported) > 3
    monkeypatch.delenv("SANITY_PYTHONS")
    assert sanity.required_pythons() == [supported[0], supported[-1]]
    monkeypatch.setenv("SANITY_PYTHONS", "3.11 3.12")
    assert sanity.required_pythons() == ["3.11", "3.12"]


def test_roles_have_one_silhouette() -> None:
    missing = [f"{role.name}: {name}" for role in roles() for name in ROLE_FILES if not (role / name).is_file()]
    assert missing == []


def test_task_files_stay_small() -> None:
    files = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in ROLES.glob("*/tasks/main.yml")}
    assert {str(path.relative_to(ROOT)): lines for path, lines in files.items() if lines > 60} == {}


def test_no_task_file_hides_one_of_the_same_name_in_a_directory_below() -> None:
    """``include_tasks: code.yml`` in ``prepare/`` would find the file above it, and go round in circles."""
    assert roles()
    for role in roles():
        names = [path.name for path in role.glob("tasks/**/*.yml")]
        assert len(names) == len(set(names)), role


def test_defaults_and_argument_specs_name_the_same_inputs() -> None:
    """An input without a sane default stands commented out in the defaults; the catalogue is the role rollback's."""
    differences = []
    for role in roles():
        text = (role / "defaults" / "main.yml").read_text(encoding="utf-8")
        defaults = set(re.findall(rf"^(?:# ?)?({role.name}_\w+):", text, re.MULTILINE))
        entries = read(role / "meta" / "argument_specs.yml")["argument_specs"].values()
        specified = {option for entry in entries for option in entry.get("options", {})}
        own = {option for option in specified if option.startswith(f"{role.name}_")}
        foreign = {option for option in specified - own if not option.startswith("rollback_")}
        differences += [f"{role.name}: {name}" for name in sorted((defaults ^ own) | foreign)]
    assert differences == []


def test_every_input_of_a_role_is_described() -> None:
    silent = [
        f"{role.name}: {option}"
        for role in roles()
        for entry in read(role / "meta" / "argument_specs.yml")["argument_specs"].values()
        for option, specification in entry.get("options", {}).items()
        if not specification.get("description")
    ]
    assert silent == []


def test_role_readmes_have_a_row_for_every_input() -> None:
    """The catalogue is the role rollback's."""
    missing = []
    for role in roles():
        text = (role / "README.md").read_text(encoding="utf-8")
        rows = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", text, re.MULTILINE))))
        entries = read(role / "meta" / "argument_specs.yml")["argument_specs"].values()
        options = {option for entry in entries for option in entry.get("options", {})}
        own = {option for option in options if option.startswith(f"{role.name}_")}
        missing += [f"{role.name}: {option}" for option in sorted(own - rows)]
    assert missing == []


def test_role_readmes_answer_the_same_questions() -> None:
    missing = []
    for role in roles():
        text = (role / "README.md").read_text(encoding="utf-8").lower()
        headings = set(re.findall(r"^#+ (.*?)\??$", text, re.MULTILINE))
        missing += [f"{role.name}: {heading}" for heading in ROLE_HEADINGS if heading.lower() not in headings]
    assert missing == []


def test_playbooks_use_roles_or_tasks_but_not_both() -> None:
    both = [
        f"{path.name}: {play.get('name')}"
        for path in sorted((ROOT / "playbooks").glob("*.yml"))
        for play in read(path)
        if "roles" in play and "tasks" in play
    ]
    assert both == []


@pytest.mark.parametrize(
    "path",
    [
        *(f"rollback/tasks/{name}.yml" for name in ("plan", "plan_reversal", "release_hold")),
        "restore_point/tasks/preflight.yml",
    ],
)
def test_an_open_transaction_is_looked_for_before_any_host_is_asked_for_anything_else(path: str) -> None:
    calls = [
        f"{name}={given}" if name.endswith("include_tasks") else name
        for task in read(ROLES / path)
        for name, given in task.items()
        if (name.startswith("lastgood.rollback.") and not name.endswith("read_inputs")) or given == "look.yml"
    ]
    assert calls[0] in ("ansible.builtin.include_tasks=look.yml", "lastgood.rollback.transaction_info")


def test_what_breaks_all_or_nothing_is_not_in_the_critical_path() -> None:
    """Each of these lets some hosts go on while others stop, or runs a step on one host only."""
    forbidden = re.compile(r"^\s*-?\s*(serial|run_once|strategy|max_fail_percentage|ignore_errors|ignore_unreachable):")
    files = [*(ROOT / "playbooks").glob("*.yml"), *ROLES.glob("*/tasks/**/*.yml"), *ROLES.glob("*/handlers/*.yml")]
    # Everything has been decided and ended before these begin.
    files = [path for path in files if not {"report", "notify"} & set(path.relative_to(ROOT).parts)]
    found = [
        f"{path.relative_to(ROOT)}:{number} {line.strip()}"
        for path in sorted(files)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if forbidden.match(line) or "end_host" in line
    ]
    assert found == []


def test_ansible_test_has_nothing_to_ignore() -> None:
    assert list((ROOT / "tests" / "sanity").glob("ignore*")) == []
    assert not (ROOT / ".ansible-lint-ignore").exists()
    assert "skip_list" not in (ROOT / ".ansible-lint").read_text(encoding="utf-8")
