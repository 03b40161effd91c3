# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) From the options to one `FilePlan` a file: where it is, what it is, what it shall be, and from where."""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import pwd
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import ChecksumMismatch, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.loaded import require_command
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from ..context import PointEntry
from .location import FileState, inspect_open, open_location, real_location

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
#: Larger files are no configuration; nothing of them is shown.
LIMIT_BYTES = 256 * 1024
#: A value must follow: the padding at the end of a base64 line is not a setting's name with an empty value.
SETTING = re.compile(r"^\s*(?:export\s+|-\s+)?[\"']?([A-Za-z_][\w.-]{0,99})[\"']?\s*[:=]\s*([^=\s].*)$")
ARMOUR = re.compile(r"^-----(BEGIN|END) ")


@dataclass(frozen=True)
class FilePlan:
    """One file of a plan.

    :param dest: its real path.
    :param source: where the wanted content lies; nothing when the file shall vanish.
    :param side: name of the directory beside it that holds the staged file, and later the replaced one.
    :param number: its position in the plan, for names in the workspace.
    """

    dest: str
    before: FileState
    after: FileState
    source: str | None
    side: str
    number: int

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return not self.before.same_as(self.after)

    def to_json(self) -> JsonObject:
        """For the plan's facts; `from_json` is the inverse."""
        return {**self.__dict__, "before": self.before.to_json(), "after": self.after.to_json()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> FilePlan:
        """Read it back from a plan's facts."""
        return cls(**{**raw, "before": FileState(**raw["before"]), "after": FileState(**raw["after"])})


def plan_files(options: Mapping[str, Any], point: PointEntry | None, transaction: str) -> list[FilePlan]:
    """All files of the options, those that need no change included.

    :raises Refused: for whatever can be known now.
    """
    items = list(options.get("files") or [])
    if not items and point is not None:
        items = [{"dest": dest} for dest in sorted(point.facts["files"])]
    if not items:
        raise Refused("No file to restore: name files, or a restore point that has some.")
    if options.get("validate") and "%s" not in options["validate"]:
        raise Refused("validate: one of the words must be exactly %s, which stands for the staged file.")
    plans = [_plan_one(number, item, options, point, transaction) for number, item in enumerate(items)]
    dests = [one.dest for one in plans]
    twice = sorted({dest for dest in dests if dests.count(dest) > 1})
    if twice:
        raise Refused(f"{twice[0]} is named more than once.")
    if options.get("validate"):
        _require_validation(plans, list(options["validate"]))
    _require_space(plans)
    return plans


def _plan_one(
    number: int, item: Mapping[str, Any], options: Mapping[str, Any], point: PointEntry | None, transaction: str
) -> FilePlan:
    dest = real_location(str(item["dest"]))
    with open_location(dest) as location:
        before = location.inspect()
    source: str | None
    if item.get("src"):
        source, after = _from_backup(dest, before, item, bool(options.get("allow_unverified")))
    elif point is not None:
        source, after = _from_point(dest, point)
    else:
        raise Refused(f"{dest}: name a backup (src) or a restore point to bring it back from.")
    _require_rights(dest, before, after)
    digest = hashlib.sha256(f"{transaction}:{dest}".encode("utf-8", "surrogateescape")).hexdigest()[:8]
    short = os.fsdecode(os.fsencode(dest.name)[:200])
    return FilePlan(str(dest), before, after, source, f".{short}.lastgood-{digest}", number)


def _from_backup(
    dest: Path, before: FileState, item: Mapping[str, Any], allow_unverified: bool
) -> tuple[str, FileState]:
    """A backup brings content and time; owner and mode stay those of the file, where there is one."""
    source = Path(str(item["src"]))
    wanted = str(item.get("checksum") or "").lower().rpartition(":")[2]
    if not wanted and not allow_unverified:
        raise Refused(f"{dest}: the backup {source} has no checksum: give its SHA-256, or set allow_unverified: true.")
    found = _inspect_backup(dest, source)
    if wanted and found.sha256 != wanted:
        raise ChecksumMismatch(
            f"{dest}: the backup {source} has the SHA-256 {found.sha256}, not {wanted}: it was damaged or replaced."
        )
    if found.bytes == 0 and wanted != EMPTY_SHA256:
        raise Refused(f"{dest}: the backup {source} is empty: if that is right, give its checksum.")
    model = before if before.exists else found
    return str(source), replace(model, sha256=found.sha256, bytes=found.bytes, mtime_ns=found.mtime_ns)


def _inspect_backup(dest: Path, source: Path) -> FileState:
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise Refused(f"{dest}: the backup {source} can't be read: {reason}.") from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Refused(f"{dest}: the backup {source} is not a regular file.")
        return inspect_open(handle)
    finally:
        os.close(handle)


def _from_point(dest: Path, point: PointEntry) -> tuple[str | None, FileState]:
    captured = point.facts["files"].get(str(dest))
    if captured is None:
        known = ", ".join(sorted(point.facts["files"])) or "none"
        raise Refused(f"Restore point {point.point} has no {dest}; its files are: {known}.")
    state = FileState(**captured["look"])
    if not state.exists:
        return None, state
    return str(point.directory / captured["artefact"]), replace(state, uid=_uid(state), gid=_gid(state))


def _uid(state: FileState) -> int:
    """Names last longer than numbers: an account may have been made anew."""
    try:
        return pwd.getpwnam(str(state.owner)).pw_uid
    except KeyError:
        return state.uid


def _gid(state: FileState) -> int:
    try:
        return grp.getgrnam(str(state.group)).gr_gid
    except KeyError:
        return state.gid


def _require_rights(dest: Path, before: FileState, after: FileState) -> None:
    if os.geteuid() == 0:
        return
    if not os.access(dest.parent, os.W_OK | os.X_OK, effective_ids=True):
        raise Refused(f"{dest.parent} can't be written by this account: become its owner, or root.")
    mine = {os.getegid(), *os.getgroups()}
    for state in (before, after):
        if state.exists and (state.uid != os.geteuid() or state.gid not in mine):
            raise Refused(f"{dest} belongs to {state.owner}:{state.group}: only root can give it back. Become root.")


def _require_validation(plans: list[FilePlan], validate: list[str]) -> None:
    """The validator runs as the file's owner, and may load what lies beside the file."""
    for one in plans:
        if one.changed and one.after.exists:
            uid = one.after.uid if os.geteuid() == 0 else os.geteuid()
            require_command([str(word) for word in validate if word != "%s"], Path(one.dest).parent, uid)


def _require_space(plans: list[FilePlan]) -> None:
    needed: dict[int, int] = {}
    parents: dict[int, Path] = {}
    for one in plans:
        if one.changed and one.after.exists:
            parent = Path(one.dest).parent
            device = parent.stat().st_dev
            needed[device] = needed.get(device, 0) + one.after.bytes
            parents[device] = parent
    for device, parent in parents.items():
        free = shutil.disk_usage(parent).free
        if needed[device] > free:
            raise Refused(f"{parent}: {needed[device]} bytes are to be staged there, and only {free} are free.")


def settings_that_change(one: FilePlan) -> list[str]:
    """Names of the settings that differ; see `changed_settings`."""
    handles: list[int | None] = []
    try:
        with open_location(Path(one.dest)) as location:
            handles.append(location.open() if one.before.exists else None)
        handles.append(os.open(one.source, os.O_RDONLY | os.O_NOFOLLOW) if one.source else None)
        return changed_settings(*handles)
    finally:
        for handle in handles:
            if handle is not None:
                os.close(handle)


def changed_settings(before: int | None, after: int | None) -> list[str]:
    """Names of the settings that were added, removed or changed; empty for files that are no configuration.

    Never a value: configuration files hold passwords, and what a plan shows ends up in logs and reports.

    :param before: an open file, or nothing where there is none.
    """
    old, new = _settings(before), _settings(after)
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def _settings(handle: int | None) -> dict[str, str]:
    if handle is None or os.fstat(handle).st_size > LIMIT_BYTES:
        return {}
    try:
        text = os.pread(handle, LIMIT_BYTES, 0).decode("utf-8")
    except UnicodeDecodeError:
        return {}
    return settings_of(text)


def settings_of(text: str) -> dict[str, str]:
    """Name → digest of all values given to it, in order."""
    found: dict[str, str] = {}
    armoured = False
    for line in text.splitlines():
        edge = ARMOUR.match(line.strip())
        if edge:
            armoured = edge.group(1) == "BEGIN"
        match = None if armoured or edge else SETTING.match(line)
        if match:
            seen = found.get(match.group(1), "") + match.group(2).strip()
            found[match.group(1)] = hashlib.sha256(seen.encode()).hexdigest()
    return found
