# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timer that sends messages when the playbook has ended long ago: what is in it, when it is there, and when it goes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.plugin_utils._messages import schedule
from ansible_collections.lastgood.rollback.plugins.plugin_utils._messages.later import (
    asks_somebody,
    sending_command,
    sending_environment,
)
from ansible_collections.lastgood.rollback.plugins.plugin_utils._messages.schedule import Schedule

NOON, MIDNIGHT = 1_795_435_200.0, 1_795_478_400.0  # 2026-11-23 12:00 and 24:00 UTC
Made = Callable[..., Schedule]


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the units go, with a program beside that stands for systemctl and remembers what it was told."""
    directory = tmp_path / "units"
    monkeypatch.setattr(schedule, "_SYSTEM_UNITS", directory)
    monkeypatch.setattr(schedule, "_user_units", lambda: directory)
    monkeypatch.setattr(schedule, "_LINGERING", tmp_path)
    monkeypatch.setattr(schedule.getpass, "getuser", lambda: "bin")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n[ ! -e {tmp_path}/refuses ]\n')
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return directory


@pytest.fixture
def make(tmp_path: Path) -> Made:
    """A schedule on a machine with systemd, unless told otherwise."""

    def made(**more: Path) -> Schedule:
        command = ["/bin/echo", "-e", "notify_spool=/srv/a b%c$d"]
        return Schedule(tmp_path / "spool", command, {"ANSIBLE_CONFIG": '/srv/"x'}, **{"booted": tmp_path, **more})

    return made


def said(units: Path) -> str:
    return (units.parent / "said").read_text()


def test_systemd_understands_the_units(make: Made, tmp_path: Path) -> None:
    for name, text in make().texts([NOON, MIDNIGHT]).items():
        (tmp_path / name).write_text(text)
    files = sorted(str(path) for path in tmp_path.glob("lastgood-*"))
    assert len(files) == 2
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "lastgood" in line] == []


def test_it_waits_for_the_moments_and_for_a_boot_that_came_later(make: Made) -> None:
    timer = make().texts([MIDNIGHT, NOON, NOON])[f"{make().name}.timer"]
    moments = [line for line in timer.splitlines() if line.startswith("OnCalendar=")]
    assert moments == ["OnCalendar=2026-11-23 12:00:00 UTC", "OnCalendar=2026-11-24 00:00:00 UTC", "OnCalendar=hourly"]
    assert "Persistent=true" in timer
    for moment in moments:
        words = ["systemd-analyze", "calendar", moment.partition("=")[2]]
        assert subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_the_timer_is_there_while_a_message_waits_and_goes_with_the_last(make: Made, units: Path) -> None:
    assert make().keep([NOON]) == ""
    assert sorted(path.suffix for path in units.iterdir()) == [".service", ".timer"]
    assert f"enable {make().name}.timer" in said(units)
    assert make().keep([]) == ""
    assert list(units.iterdir()) == []
    assert f"disable --now {make().name}.timer" in said(units)


def test_where_nothing_waits_systemd_is_not_asked(make: Made, units: Path) -> None:
    assert make().keep([]) == ""
    assert not (units.parent / "said").exists()


def test_without_systemd_it_says_so(make: Made, units: Path, tmp_path: Path) -> None:
    assert make(booted=tmp_path / "nowhere").keep([NOON]) == "there is no systemd here"
    assert not units.exists()


def test_what_systemd_refuses_is_told(make: Made, units: Path) -> None:
    (units.parent / "refuses").touch()
    assert "does not take the timer" in make().keep([NOON])


def test_two_spools_have_a_timer_each(make: Made, tmp_path: Path) -> None:
    assert make().name != Schedule(tmp_path / "other", []).name


def test_the_command_takes_files_over_and_no_secret() -> None:
    options = {
        "inventory": ["/srv/inventory", "web1,"],
        "vault_password_files": ["/srv/vault"],
        "vault_ids": ["prod@/srv/prod"],
        "extra_vars": ["@settings.yml", "notify_mail={password: hunter2}"],
    }
    words = sending_command(Path("/srv/spool"), options)
    assert words[1:4] == ["-m", "ansible", "playbook"]
    assert Path(words[4]).is_file()
    assert words[5:] == [
        *("-i", "/srv/inventory", "-i", "web1,", "--vault-password-file", "/srv/vault", "--vault-id", "prod@/srv/prod"),
        *("-e", "@settings.yml", "-e", "notify_spool=/srv/spool"),
    ]


def test_only_what_is_needed_of_the_environment_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "hunter2")
    assert "VAULT_TOKEN" not in sending_environment()
    assert "ANSIBLE_COLLECTIONS_PATH" in sending_environment()


@pytest.mark.parametrize(
    ("options", "asks"),
    [
        ({}, False),
        ({"ask_vault_pass": True}, True),
        ({"vault_ids": ["prod@prompt"]}, True),
        ({"vault_ids": ["prompt"]}, True),
        ({"vault_ids": ["prod@/srv/prompt-file"]}, False),
    ],
)
def test_a_password_that_was_typed_can_not_be_typed_again(options: dict[str, object], asks: bool) -> None:
    assert asks_somebody(options) is asks
