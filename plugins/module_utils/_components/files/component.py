# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Files: single files, mostly configuration, back from a restore point or a backup; several as one.

Contents are never shown: configuration holds passwords. Plans name digests, modes, owners, and the names of settings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import user_by_uid
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    CommandFailed,
    LastGoodError,
    Refused,
    StateConflict,
    VerificationFailed,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import require_checksum, write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from ..base import Component, FinishedRollback
from ..context import PointEntry
from ..plan import Plan, State
from .location import FileState, open_location, real_location
from .plan import FilePlan, plan_files, settings_that_change
from .swap import LiveVersion, Swap, copy_open_file, explained, swap

VALIDATE_TIMEOUT_S = 60.0


class Files(Component):
    """See the module's docstring."""

    kind = "files"
    order = 30

    @classmethod
    def entry_name(cls, options: Mapping[str, Any]) -> str:
        """All files of a host are one entry of a restore point."""
        return "files"

    @classmethod
    def capture_options(cls, listed: Sequence[Any]) -> list[Mapping[str, Any]]:
        """All of them at once."""
        return [{"files": listed}] if listed else []

    @classmethod
    def capture_lock_keys(cls, options: Mapping[str, Any]) -> list[str]:
        """The files themselves: their entry is the same for all."""
        return [f"file:{file}" for file in options["files"]]

    # -- inspecting

    def capture(self, options: Mapping[str, Any], into: Path) -> JsonObject:
        """Copy each file, with its owner, mode, time and attributes; a file that is not there is noted as absent."""
        files: JsonObject = {}
        for number, path in enumerate(_paths(options)):
            artefact = f"{number:03d}"
            with open_location(path) as location:
                state = (
                    FileState(False) if location.lstat() is None else copy_open_file(location.open(), into / artefact)
                )
            files[str(path)] = {"look": state.to_json(), **({"artefact": artefact} if state.exists else {})}
        return {"files": files}

    def fingerprint(self, options: Mapping[str, Any]) -> JsonObject:
        """Digest, owner, mode and time of each file."""
        found: JsonObject = {}
        for path in _paths(options):
            with open_location(path) as location:
                found[str(path)] = location.inspect().to_json()
        return found

    # -- plan

    def plan(self, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
        """Compare every file with what it shall be."""
        files = plan_files(options, point, self.context.transaction)
        changed = [one for one in files if one.changed]
        discards = [
            {
                "path": one.dest,
                "becomes": "replaced" if one.after.exists else "removed",
                "settings": settings_that_change(one),
            }
            for one in changed
            if one.before.exists
        ]
        return Plan(
            kind=self.kind,
            name=_name([one.dest for one in files]),
            things=tuple(f"file:{one.dest}" for one in files),
            changed=bool(changed),
            before={one.dest: one.before.public for one in files},
            after={one.dest: one.after.public for one in files},
            discards={"files": discards} if discards else {},
            facts={"files": [one.to_json() for one in changed], "validate": list(options.get("validate") or [])},
            downtime={"ms": 10 * len(changed), "grows_with": "the number of changed files"},
            disk_bytes=sum(one.before.bytes + one.after.bytes for one in changed),
        )

    def plan_reversal(self, finished: FinishedRollback) -> Plan:
        """What was put aside is read like a restore point: descriptions and copies in the workspace."""
        then = Files(replace(self.context, transaction=finished.transaction, workspace=finished.workspace))
        files = {one.dest: then._previous_state(one) for one in _files(finished.plan)}
        point = PointEntry(f"what {finished.transaction} put aside", finished.workspace, {"files": files})
        return replace(self.plan({}, point), name=finished.plan.name, undoes=finished.transaction)

    def _previous_state(self, one: FilePlan) -> JsonObject:
        """A file as it was right before it was replaced, and the name of its copy, which is whole."""
        newest, copy = self._newest(one), self._copy_of(one)
        if newest is None:
            raise Refused(
                f"{one.dest}: what it was is no longer noted in {self.context.workspace}: restore it by hand."
            )
        if copy is None:
            return {"look": newest["look"]}
        require_checksum(copy, newest["look"]["sha256"], f"The copy of {one.dest}")
        return {"look": newest["look"], "artefact": copy.name}

    # -- phases

    def prepare(self, plan: Plan) -> JsonObject:
        """Stage every file beside its place, copy what is there, and let the validator check it."""
        for one in _files(plan):
            change = self.context.change(f"Stage {one.dest} in {one.side}")
            with change, explained(f"Staging {one.dest}"), self._swap(one) as work:
                copy = self.context.workspace / f"{one.number}.before"
                found = work.copy_live(copy)
                if not found.same_as(one.before):
                    raise Refused(f"{one.dest} was changed since this was planned: plan again.")
                self._note_newest(one, found, copy)
                work.stage()
        validated = [self._validate(plan, one) for one in _files(plan) if plan.facts["validate"] and one.after.exists]
        return {"backup": self.kept(plan), "validated": validated}

    def _validate(self, plan: Plan, one: FilePlan) -> str:
        """Run the validator on the staged file, as the file's owner."""
        staged = Path(one.dest).parent / one.side / Path(one.dest).name
        command = self.context.secrets.get("validate") or plan.facts["validate"]
        argv = [str(staged) if word == "%s" else str(word) for word in command]
        attempt = f"Validating what {one.dest} would become"
        run = self.context.run.as_user(user_by_uid(one.after.uid)) if os.geteuid() == 0 else self.context.run
        try:
            run.run_named(argv, attempt, cwd=Path(one.dest).parent, timeout=VALIDATE_TIMEOUT_S)
        except CommandFailed as error:
            output = "\n".join(filter(None, (error.stdout.strip(), error.stderr.strip())))[-2000:]
            raise VerificationFailed(f"{attempt} failed with {error.rc}: {output}\nNothing was replaced.") from error
        return one.dest

    def switch(self, plan: Plan) -> None:
        """Rename every staged file over its place; what is replaced goes aside, and newer content is copied too."""
        for one in _files(plan):
            with self._swap(one) as work:
                if work.live_version() is LiveVersion.NEW:
                    continue
                if not work.has_side_directory():
                    raise LastGoodError(f"{one.dest} is not prepared: nothing was replaced. Start again.")
            self._keep_newer(one)
            verb = "Restore" if one.after.exists else "Take away"
            change = self.context.change(f"{verb} {one.dest}", sha256=one.after.sha256)
            with change, explained(f"Replacing {one.dest}"), self._swap(one) as work:
                replaced = work.switch()
            if replaced is not None:
                self._note_newest(one, replaced, None)

    def _keep_newer(self, one: FilePlan) -> None:
        """What was written since prepare is what an undo has to bring back: copy it, and note it, before the rename."""
        with self._swap(one) as work:
            if work.location.inspect().same_as(work.newest):
                return
            number = 2
            while (self.context.workspace / f"{one.number}.before-{number}").exists():
                number += 1
            copy = self.context.workspace / f"{one.number}.before-{number}"
            change = self.context.change(f"Keep {one.dest}, which changed since it was prepared")
            with change, explained(f"Keeping {one.dest}, which changed since it was prepared,"):
                self._note_newest(one, work.copy_live(copy), copy)

    def undo(self, plan: Plan) -> None:
        """Put back every file that was replaced, in reverse order, and remove what was staged."""
        foreign = [one.dest for one in _files(plan) if self._live_version(one) is LiveVersion.FOREIGN]
        if foreign:
            raise StateConflict(
                f"{', '.join(foreign)}: neither what was there before nor what the rollback put there: somebody changed "
                f"it since. All files were left alone; what was replaced is kept in {self.context.workspace}."
            )
        for one in reversed(_files(plan)):
            with self.context.change(f"Put back {one.dest}"), self._swap(one) as work:
                work.undo(self._copy_of(one))

    def finish(self, plan: Plan) -> None:
        """Remove the directories beside the files; the copies in the workspace stay."""
        for one in _files(plan):
            with self._swap(one) as work:
                if work.has_side_directory():
                    with self.context.change(f"Clean up beside {one.dest}"):
                        self._keep_replaced(one, work)
                        work.remove_side()

    def _keep_replaced(self, one: FilePlan, work: Swap) -> None:
        """A program that still had the replaced file open may have written to it after the switch."""
        handle = work.open_previous()
        if handle is not None:
            copy = self.context.workspace / f"{one.number}.before-last"
            self._note_newest(one, copy_open_file(handle, copy), copy)

    def state(self, plan: Plan) -> State:
        """All new, all old, a mixture, or something else."""
        files = _files(plan)
        try:
            found = {self._live_version(one) for one in files}
            staged = [one for one in files if self._has_side_directory(one)]
        except (Refused, OSError):
            return State.FOREIGN
        if LiveVersion.FOREIGN in found:
            return State.FOREIGN
        if found == {LiveVersion.NEW}:
            return State.SWITCHED
        if LiveVersion.NEW in found:
            return State.PARTIAL
        return State.PREPARED if staged else State.UNTOUCHED

    def kept(self, plan: Plan) -> JsonObject:
        """File → the copy of what was replaced."""
        copies = {one.dest: self._copy_of(one) for one in _files(plan)}
        return {dest: str(copy) for dest, copy in copies.items() if copy is not None and copy.exists()}

    def result(self, plan: Plan, evidence: Mapping[str, Any]) -> JsonObject:
        """The documented return values of ``file_restore``."""
        files = _files(plan)
        return {
            "restored": [one.dest for one in files if one.after.exists],
            "removed": [one.dest for one in files if not one.after.exists],
            "backup": dict(evidence.get("backup", {})),
        }

    # -- parts

    def _swap(self, one: FilePlan) -> AbstractContextManager[Swap]:
        newest = self._newest(one)
        return swap(one, FileState(**newest["look"]) if newest else None, self.context.workspace)

    def _live_version(self, one: FilePlan) -> LiveVersion:
        with self._swap(one) as work:
            return work.live_version()

    def _has_side_directory(self, one: FilePlan) -> bool:
        with self._swap(one) as work:
            return work.has_side_directory()

    def _newest(self, one: FilePlan) -> JsonObject | None:
        """What was there right before the switch, as noted in the workspace."""
        try:
            noted: JsonObject = json.loads((self.context.workspace / f"{one.number}.json").read_bytes())
        except FileNotFoundError:
            return None
        return noted

    def _note_newest(self, one: FilePlan, state: FileState, copy: Path | None) -> None:
        known = self._newest(one) or {}
        name = copy.name if copy is not None and state.exists else known.get("copy")
        raw = {"look": state.to_json(), "copy": name if state.exists else None}
        write_atomic(self.context.workspace / f"{one.number}.json", json.dumps(raw).encode("ascii"))

    def _copy_of(self, one: FilePlan) -> Path | None:
        newest = self._newest(one)
        return self.context.workspace / newest["copy"] if newest and newest["copy"] else None


def _files(plan: Plan) -> list[FilePlan]:
    return [FilePlan.from_json(raw) for raw in plan.facts["files"]]


def _paths(options: Mapping[str, Any]) -> list[Path]:
    """The files to capture, from paths or from the same objects that a restore takes."""
    listed = options.get("paths") or options["files"]
    return [real_location(str(item["dest"] if isinstance(item, Mapping) else item)) for item in listed]


def _name(dests: list[str]) -> str:
    """Unique among the file sets of a transaction, and readable: ``/srv/app/{.env,config.py}``."""
    if len(dests) == 1:
        return dests[0]
    above = os.path.commonpath([str(Path(dest).parent) for dest in dests])
    return f"{above.rstrip('/')}/{{{','.join(str(Path(dest).relative_to(above)) for dest in dests)}}}"
