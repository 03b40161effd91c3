# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the report of a transaction, and its lines of the log, on the controller."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import write_atomic
from ansible_collections.lastgood.rollback.plugins.plugin_utils._messages.contacts import (
    ContactsRefused,
    parse_contacts,
)
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.render import render
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.report import Material, build_report
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.text import log_lines, missing_lines, redacted

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_UNDO_PLAYBOOK = Path(__file__).resolve().parents[2] / "playbooks" / "undo_rollback.yml"


class ActionModule(ActionBase):
    """Runs on the controller alone: it has what all hosts said, and nothing is sent anywhere."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the files; with check mode on, nothing."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec(
            argument_spec={
                "plan": {"type": "dict", "required": True},
                "outcome": {"type": "dict", "required": True},
                "hosts": {"type": "dict", "required": True},
                "templates": {"type": "path", "required": True},
                "dest": {"type": "path", "required": True},
                "contacts": {"type": "dict", "default": {}},
                "deliveries": {"type": "list", "elements": "dict", "default": []},
                "secrets": {"type": "list", "elements": "str", "default": [], "no_log": True},
                "keep_days": {"type": "int", "default": 7},
            }
        )
        identity = str(given["plan"].get("id", ""))
        if not _ID.fullmatch(identity):
            raise AnsibleActionFail(f"{identity!r} is not a transaction's id, so there is nothing to report.")
        dest = Path(given["dest"]).absolute()
        paths = {kind: dest / f"{identity}.{kind}" for kind in ("html", "json", "md")}
        log = dest / "rollback.log"
        lines: list[str] = []
        if not self._task.check_mode:
            try:
                lines = _write(given, paths, log)
            except OSError as error:
                raise AnsibleActionFail(f"The report can't be written to {dest}: {error.strerror}.") from error
        result.update(changed=True, log=str(log), lines=lines, **{kind: str(path) for kind, path in paths.items()})
        return result


def _write(given: Mapping[str, Any], paths: Mapping[str, Path], log: Path) -> list[str]:
    """The log first, so that the report can say that it stands; returns its lines."""
    log.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    material = _material(given, None)
    lines = log_lines(_clean(build_report(material), given)["events"])
    append_log(log, lines)
    material = _material(given, {"path": str(log), "lines": len(lines)})
    report = _clean(build_report(material), given)
    now, templates = time.time(), Path(given["templates"])
    write_atomic(paths["json"], json.dumps({**report, "written": now}, indent=1).encode() + b"\n", 0o640)
    write_atomic(paths["md"], render("report.md.j2", report, templates, now).encode(), 0o640)
    write_atomic(paths["html"], render("report.html.j2", report, templates, now).encode(), 0o640)
    return lines


def _material(given: Mapping[str, Any], log: Mapping[str, Any] | None) -> Material:
    try:
        contacts, wrong = parse_contacts(given["contacts"]), []
    except ContactsRefused as error:
        contacts, wrong = (
            [],
            [{"what": "All messages", "to": "nobody", "sent": False, "failed": True, "detail": str(error)}],
        )
    return Material(
        plan=given["plan"],
        ended=given["outcome"],
        registered=given["hosts"],
        contacts=contacts,
        keep_days=given["keep_days"],
        can_undo=_UNDO_PLAYBOOK.is_file(),
        log=log,
        deliveries=[*wrong, *given["deliveries"]],
    )


def _clean(report: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    cleaned: dict[str, Any] = redacted(report, given["secrets"])
    return cleaned


def append_log(path: Path, lines: Sequence[str]) -> None:
    """Append what is not there yet, durably; nothing that is there is ever touched."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
    with os.fdopen(descriptor, "a+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        there = stream.read().decode("utf-8", "replace")
        missing = missing_lines(there.split("\n"), lines)
        torn = "\n" if there and not there.endswith("\n") else ""
        if missing:
            stream.write((torn + "".join(f"{line}\n" for line in missing)).encode())
            stream.flush()
            os.fsync(stream.fileno())
