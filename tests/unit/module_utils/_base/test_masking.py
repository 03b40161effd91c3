# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of an environment given to tests, results mask what is secret, and only that."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import (
    hidden,
    masked_output,
    without_login,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components.options import ComponentOptions
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import component_class
from ansible_collections.lastgood.rollback.plugins.module_utils._runners import component
from ansible_collections.lastgood.rollback.plugins.modules import git_reset, health_info

ENVIRONMENT = {
    "DATABASE_USER": "blog",
    "DATABASE_PASSWORD": "tulip",
    "SECRET_KEY": "0f1e2d",
    "DATABASE_URL": "postgresql://blog:tulip@db1/blog",
    "CORE_URL": "http://127.0.0.1:5000",
    "WORKERS": 1,
}


def test_only_secrets_are_masked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    harmless = {"path": "/srv/blog-core", "url": "http://127.0.0.1:5000", "count": "1"}
    told = {**harmless, "said": list(ENVIRONMENT.values())}
    monkeypatch.setattr(component, "_component_result", lambda *_words, **_options: dict(told))
    options = ComponentOptions({"test_environment": {"type": "dict", "no_log": True}}, secrets=("test_environment",))
    with patch_module_args({"test_environment": ENVIRONMENT}), pytest.raises(SystemExit):
        component.run_component(component_class, options, "code")
    result = json.loads(capsys.readouterr().out)
    assert {name: result[name] for name in harmless} == harmless
    assert "tulip" not in json.dumps(result)
    assert "0f1e2d" not in json.dumps(result)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://me:tulip@git.example.org/blog.git", "https://git.example.org/blog.git"),
        ("https://ghp_token@git.example.org:8443/blog.git", "https://git.example.org:8443/blog.git"),
        ("https://git.example.org/me@home/blog.git", "https://git.example.org/me@home/blog.git"),
        ("ssh://git:tulip@git.example.org/blog.git", "ssh://git@git.example.org/blog.git"),
        ("git+ssh://git@git.example.org/blog.git", "git+ssh://git@git.example.org/blog.git"),
        ("git@git.example.org:blog.git", "git@git.example.org:blog.git"),
        ("/srv/git/blog.git", "/srv/git/blog.git"),
        (None, None),
    ],
)
def test_an_address_is_kept_without_what_logs_in_there(url: str | None, kept: str | None) -> None:
    assert without_login(url) == kept


def test_what_fails_gives_no_orders_to_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_words: object, **_options: object) -> None:
        raise Refused("no \x1b[2J\u202e here,\nand here")

    monkeypatch.setattr(component, "_component_result", fail)
    with patch_module_args({}), pytest.raises(SystemExit):
        component.run_component(component_class, ComponentOptions({}), "code")
    assert json.loads(capsys.readouterr().out)["msg"] == "no \\x1b[2J\\u202e here,\nand here"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["./check", "--token=tulip9", "-v"], "./check --token=******** -v"),
        (["./check", "--password", "tulip9", "-v"], "./check --password ******** -v"),
        (["env", "API_KEY=tulip9", "./check", "tulip9"], "env API_KEY=******** ./check ********"),
        (["curl", "-H", "Authorization: Bearer tulip9", "http://x/"], "curl -H Authorization: ******** http://x/"),
        (["psql", "postgresql://me:tulip9@db/blog"], "psql postgresql://me:********@db/blog"),
        (["python", "manage.py", "check", "--deploy"], "python manage.py check --deploy"),
        (["pytest", "--secret", "--verbose"], "pytest --secret --verbose"),
    ],
)
def test_arguments_are_shown_without_their_secrets(command: list[str], shown: str) -> None:
    assert " ".join(hidden(command)) == shown


def test_a_program_s_words_are_shown_without_the_secrets_of_its_environment() -> None:
    environment = {name: str(value) for name, value in ENVIRONMENT.items()}
    said = "cannot connect to postgresql://blog:tulip@db1/blog as blog: tulip is wrong; nor to amqp://me:other@mq/"
    told = masked_output(said, environment)
    assert told == "cannot connect to ******** as blog: ******** is wrong; nor to amqp://me:********@mq/"


def test_a_secret_among_the_arguments_of_a_check_is_told_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not in what a module says at -vvv, not in the journal; the command gets it all the same, also in a later attempt."""
    checkout, state, got = tmp_path / "checkout", tmp_path / "state", tmp_path / "got"
    git = ["git", "-C", str(checkout), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "init", "-q", str(checkout)], check=True)
    for number in ("1", "2"):
        (checkout / "app.py").write_text(number)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", number], check=True)
    said = 'echo "$1" "$2" > "$3"; echo "not with $2" >&2; exit $4'
    for status in ("1", "0"):
        command = ["sh", "-c", said, "check", "--token", "tulip99", str(got), status]
        options = {"path": str(checkout), "to": "HEAD~1", "state_dir": str(state), "verify": {"commands": [command]}}
        with patch_module_args(options), pytest.raises(SystemExit):
            git_reset.main()
        result = json.loads(capsys.readouterr().out)
        assert bool(result.get("failed")) is (status == "1"), result
        assert got.read_text().split() == ["--token", "tulip99"]
        assert "tulip99" not in json.dumps(result)
        assert "--token" in json.dumps(result["invocation"])
        if status == "1":
            assert "not with ********" in result["msg"]
    kept = subprocess.run(["grep", "-rl", "tulip99", str(state)], check=False, capture_output=True, text=True)
    assert kept.stdout == ""


def test_a_secret_among_the_arguments_of_a_health_check_is_not_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sh", "-c", 'echo "not with $2" >&2; exit 1', "check", "--token", "tulip99"]
    project = {"name": "core", "path": str(tmp_path), "commands": [command]}
    with patch_module_args({"projects": [project]}), pytest.raises(SystemExit):
        health_info.main()
    result = json.loads(capsys.readouterr().out)
    assert "tulip99" not in json.dumps(result)
    assert "not with ********" in result["checks"][0]["detail"]
    assert result["checks"][0]["name"].endswith("check --token ********")
