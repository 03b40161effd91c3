# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of an environment given to tests, results mask what is secret, and only that."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lastgood.rollback.plugins.module_utils import _runner
from ansible_collections.lastgood.rollback.plugins.module_utils._masking import masked

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


def test_a_program_s_words_are_shown_without_the_secrets_of_its_environment() -> None:
    environment = {name: str(value) for name, value in ENVIRONMENT.items()}
    said = "cannot connect to postgresql://blog:tulip@db1/blog as blog: tulip is wrong; nor to amqp://me:other@mq/"
    told = masked(said, environment)
    assert told == "cannot connect to ******** as blog: ******** is wrong; nor to amqp://me:********@mq/"
