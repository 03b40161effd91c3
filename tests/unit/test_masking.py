# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of an environment given to tests, results mask what is secret, and only that."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lastgood.rollback.plugins.module_utils import _runner
from ansible_collections.lastgood.rollback.plugins.module_utils._errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._masking import masked, without_login

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
    monkeypatch.setattr(_runner, "_component_result", lambda *_words, **_options: dict(told))
    spec = {"test_environment": {"type": "dict", "no_log": True}}
    with patch_module_args({"test_environment": ENVIRONMENT}), pytest.raises(SystemExit):
        _runner.run_component("code", argument_spec=spec, secrets=("test_environment",))
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

    monkeypatch.setattr(_runner, "_component_result", fail)
    with patch_module_args({}), pytest.raises(SystemExit):
        _runner.run_component("code", argument_spec={})
    assert json.loads(capsys.readouterr().out)["msg"] == "no \\x1b[2J\\u202e here,\nand here"


def test_a_program_s_words_are_shown_without_the_secrets_of_its_environment() -> None:
    environment = {name: str(value) for name, value in ENVIRONMENT.items()}
    said = "cannot connect to postgresql://blog:tulip@db1/blog as blog: tulip is wrong; nor to amqp://me:other@mq/"
    told = masked(said, environment)
    assert told == "cannot connect to ******** as blog: ******** is wrong; nor to amqp://me:********@mq/"
