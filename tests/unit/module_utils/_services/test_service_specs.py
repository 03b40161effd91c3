# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading descriptions of services, and the order that they give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._services import control
from ansible_collections.lastgood.rollback.plugins.module_utils._services.managers.base import ServiceStatus
from ansible_collections.lastgood.rollback.plugins.module_utils._services.managers.supervisor import (
    Address,
    read_address,
    read_info,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._services.specs import (
    Service,
    parse,
    require_complete,
    start_waves,
)


def names(**requires: list[str]) -> list[list[str]]:
    services = parse([{"name": name, "requires": needed} for name, needed in requires.items()])
    return [[service.name for service in wave] for wave in start_waves(services)]


@pytest.mark.parametrize(
    ("requires", "waves"),
    [
        ({}, []),
        ({"a": [], "b": []}, [["a", "b"]]),
        ({"b": ["a"], "a": []}, [["a"], ["b"]]),
        ({"d": ["b", "c"], "c": ["a"], "b": ["a"], "a": []}, [["a"], ["c", "b"], ["d"]]),
        ({"b": ["elsewhere"], "a": ["b"]}, [["b"], ["a"]]),
    ],
)
def test_order(requires: dict[str, list[str]], waves: list[list[str]]) -> None:
    assert names(**requires) == waves


@pytest.mark.parametrize(
    ("requires", "named"),
    [
        ({"a": ["a"]}, "a requires a"),
        ({"a": ["b"], "b": ["a"], "c": []}, "a requires b, b requires a"),
        ({"a": ["c"], "b": ["a"], "c": ["b"]}, "a requires c, b requires a, c requires b"),
    ],
)
def test_a_circle_is_refused_and_named(requires: dict[str, list[str]], named: str) -> None:
    with pytest.raises(Refused, match=named):
        names(**requires)


def test_who_orders_everything_names_everything() -> None:
    require_complete(parse([{"name": "core"}, {"name": "worker", "requires": ["core"]}]))
    with pytest.raises(Refused, match=r"the order would be lost: worker requires cor, worker requires db\."):
        require_complete(parse([{"name": "core"}, {"name": "worker", "requires": ["cor", "db"]}]))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "needs a name"),
        ({"name": "a", "wait": 3}, "unknown: wait"),
        ({"name": "a", "manager": "runit"}, "manager is one of systemd, supervisor, process, not 'runit'"),
        ({"name": "a", "scope": "session"}, "scope is one of"),
        ({"name": "a", "timeout": -1}, "timeout is a number of seconds"),
        ({"name": "a", "soak": "long"}, "soak is a number of seconds"),
        ({"name": "a", "ready": {"httpd": "x"}}, "not httpd"),
        ({"name": "a", "ready": {"http": "ftp://x/"}}, "not an address"),
        ({"name": "a", "ready": {"http": "http:///path"}}, "not an address"),
        ({"name": "a", "ready": {"http": {"status": 200}}}, "url, status and contains"),
        ({"name": "a", "ready": {"http": "http://x:port/"}}, "no usable address"),
        ({"name": "a", "ready": {"tcp": "localhost"}}, "host:port"),
        ({"name": "a", "ready": {"command": "true && true"}}, "list of arguments"),
        ({"name": "a", "manager": "supervisor", "config": "/x", "ready": {"notify": True}}, "no notification"),
        ({"name": "a", "manager": "process"}, "needs pid_file and command"),
        (
            {"name": "a", "manager": "process", "command": ["b"], "pid_file": "run/pid"},
            "pid_file has to be an absolute",
        ),
        ({"name": "a", "pid_file": "/run/pid", "log": "/x"}, "pid_file, log is for manager: process only"),
        (
            {"name": "a", "manager": "process", "command": ["b"], "pid_file": "/p", "ready": {"notify": True}},
            "no notification",
        ),
    ],
)
def test_mistakes_are_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        parse([raw])


def test_the_same_service_twice_is_refused() -> None:
    with pytest.raises(Refused, match="systemd:a"):
        parse([{"name": "a"}, {"name": "a"}])


@pytest.mark.parametrize(
    "raw",
    [
        {"name": "a"},
        {"name": "a", "scope": "user", "user": "blog", "requires": ["b"], "ready": {"notify": True}, "soak": 0},
        {"name": "a", "ready": {"http": {"url": "http://h:1/x", "status": 204, "contains": "ok"}, "tcp": "h:1"}},
        {"name": "a", "manager": "supervisor", "config": "/etc/s.conf", "ready": {"command": ["true", "x y"]}},
        {
            "name": "a",
            "manager": "process",
            "pid_file": "/p",
            "command": ["b", "c"],
            "chdir": "/d",
            "log": "/l",
            "user": "u",
        },
        # As Ansible hands over what was left out.
        {
            "name": "a",
            "user": None,
            "config": None,
            "ready": {"http": None, "tcp": None, "command": None, "notify": False},
        },
    ],
)
def test_options_survive_the_journal(raw: dict[str, Any]) -> None:
    services = parse([raw])
    assert parse([json.loads(json.dumps(service.options())) for service in services]) == services


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("[unix_http_server]\nfile=/run/s.sock ; comment\n", Address(path="/run/s.sock")),
        ("[unix_http_server]\nfile=%(here)s/s.sock\n", Address(path="{here}/s.sock")),
        ("[unix_http_server]\nfile=s.sock\n[inet_http_server]\nport=9001\n", Address(path="{here}/s.sock")),
        ("[inet_http_server]\nport=127.0.0.1:9001\n", Address(host="127.0.0.1", port=9001)),
        ("[inet_http_server]\nport=*:9001\n", Address(host="127.0.0.1", port=9001)),
        (
            "[unix_http_server]\nfile=/run/s.sock\nusername=us\npassword=%(ENV_SECRET)s\n",
            Address(path="/run/s.sock", authorization="Basic dXM6cGFzc3dvcmQ="),
        ),
    ],
)
def test_the_way_to_supervisor(text: str, address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "password")
    config = tmp_path / "s.conf"
    config.write_text(text)
    found = read_address(config)
    assert found == Address(address.path.format(here=tmp_path), address.host, address.port, address.authorization)
    assert "dXM6" not in repr(found)


@pytest.mark.parametrize("text", ["[supervisord]\n", "no section", "[inet_http_server]\nport=9001x\n"])
def test_no_way_to_supervisor_is_refused(text: str, tmp_path: Path) -> None:
    config = tmp_path / "s.conf"
    config.write_text(text)
    with pytest.raises(Refused, match=str(config)):
        read_address(config)


@pytest.mark.parametrize(
    ("word", "exit_status", "state"),
    [
        ("STOPPED", 0, "down"),
        ("STARTING", 0, "starting"),
        ("BACKOFF", 1, "starting"),
        ("RUNNING", 0, "running"),
        ("STOPPING", 0, "stopping"),
        ("EXITED", 0, "down"),
        ("EXITED", 1, "failed"),
        ("FATAL", 1, "failed"),
    ],
)
def test_supervisors_states(word: str, exit_status: int, state: str) -> None:
    info = {"statename": word, "pid": 0, "start": 1, "stop": 2, "exitstatus": exit_status, "spawnerr": ""}
    assert read_info(info).state == state


class Fake(Service):
    """A service of a manager that obeys, or that never does."""

    def manager_of(self, run: CommandRunner) -> Any:
        return self

    def status(self, name: str) -> ServiceStatus:
        return ServiceStatus("running" if name == "stubborn" or name not in STOPPED else "down", detail="as ever")

    def stop(self, name: str) -> None:
        STOPPED.add(name)

    kill = stop


STOPPED: set[str] = set()


def test_what_was_stopped_is_told_although_another_service_could_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its downtime would be none: nothing but that call knows when it stopped."""
    STOPPED.clear()
    monkeypatch.setattr(control, "_GRACE", 0.0)
    told: list[list[str]] = []
    services = [Fake("stubborn", stop_timeout=0.0), Fake("worker", requires=("stubborn",), stop_timeout=0.0)]
    with pytest.raises(LastGoodError, match=r"stubborn .* runs on"):
        control.stop(services, CommandRunner(), lambda some: told.append([one.name for one in some]))
    assert told == [["worker"]]
