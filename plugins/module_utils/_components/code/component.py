# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Code: a git checkout, back at a commit, with nothing lost that git does not have.

The deployed branch itself goes back. What it held stays findable under an emergency branch; what was never committed
is archived with content, mode and owner, and an undo puts all of it back, the index included.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    LastGoodError,
    Refused,
    StateConflict,
    UndoIncomplete,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import without_login
from ansible_collections.lastgood.rollback.plugins.module_utils._base.processes import terminate_leftover_processes
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from ..base import Component
from ..context import PointEntry
from ..plan import Plan, State
from . import checks, local_changes
from .archive import FILE, holds_work
from .checkout import Checkout, describe, open_checkout, verify
from .messages import foreign, shown
from .plan import plan_checkout
from .record import Record
from .reset import commit_reverts, keep_ignored, move_submodule, reset_checkout, tidy
from .reset_marker import ResetMarker, remove_own_ref_locks
from .selection import PATHS, REVERT
from .target import deepen

PATIENCE_S = 60.0


class Code(Component):
    """See the module's docstring."""

    kind = "code"
    order = 10

    @classmethod
    def entry_name(cls, options: Mapping[str, Any]) -> str:
        """The checkout's path as the catalogue has it: the lock goes by the real one, a restore point by this."""
        return os.path.normpath(str(options["path"]))

    # -- looking

    def capture(self, options: Mapping[str, Any], into: Path) -> JsonObject:
        """Note the commit, keep it alive by a ref, and archive tracked files that differ from it."""
        git, layout, owner = open_checkout(self.context.run, options)
        head = git.head()
        checks.require_quiet(layout, head)
        captured = local_changes.capture(git, owner, into)
        keep = f"refs/lastgood/points/{head.commit}"
        git.create_ref(keep, head.commit)
        untracked = git.untracked()
        return {
            **describe(git, head),
            "path": str(layout.top),
            "ref": keep,
            "remote": without_login(git.config("remote.origin.url")),
            "upstream": git.config(f"branch.{(head.branch or '').rpartition('refs/heads/')[2]}.merge"),
            "shallow": layout.shallow,
            "modified": shown(one.path for one in captured),
            "untracked": shown(untracked),
            "untracked_count": len(untracked),
        }

    def fingerprint(self, options: Mapping[str, Any]) -> JsonObject:
        """HEAD, branch, and a digest of the tracked files that differ from it."""
        git, _layout, owner = open_checkout(self.context.run, options)
        return {**asdict(git.head()), "status": local_changes.digest(local_changes.present(git, owner))}

    def delete_captured(self, facts: JsonObject, needed: Sequence[JsonObject]) -> None:
        """Drop the ref that kept the commit alive, unless another restore point is at the same commit."""
        if all(other.get("ref") != facts["ref"] for other in needed):
            open_checkout(self.context.run, {"path": facts["path"]})[0].delete_ref(facts["ref"], facts["commit"])

    # -- plan

    def plan(self, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
        """Resolve the target, and refuse what would not work."""
        return plan_checkout(self.context, options, point)

    # -- phases

    @classmethod
    def is_reversible(cls, plan: Plan) -> bool:
        """Only a checkout that went back as a whole, and not single paths or reverts in it."""
        return plan.facts["paths"] is None and plan.facts["mode"] != REVERT

    @classmethod
    def kept_instead(cls, plan: Plan) -> str:
        """See `Component.kept_instead`."""
        commits = (
            "the commits, on an emergency branch" if plan.facts["mode"] == REVERT else "the commits, where they are"
        )
        return f"{commits}, and what was never committed, in an archive"

    def prepare(self, plan: Plan) -> JsonObject:
        """Emergency branch, archive, and the target's own checks in a scratch tree."""
        checkout = Checkout(self.context, plan.facts)
        terminate_leftover_processes(checkout.marker, PATIENCE_S)
        self._require_before(checkout)
        if plan.facts["history"] and checkout.git.resolve(checkout.target) is None:
            with self.context.change(f"Fetch the history of {checkout.top}"):
                deepen(checkout.git, plan.facts["history"], checkout.target)
        self._make_refs(plan, checkout)
        with self.context.change(f"Archive what a reset of {checkout.top} would overwrite"):
            self._copy_changes(plan, checkout)
            record = self._record(plan, checkout)
        evidence: JsonObject = {
            "emergency_ref": plan.facts["emergency_ref"],
            "archive": str(self.context.workspace / record.archive),
            "archived": sum(1 for entry in record.entries if entry.kind == FILE),
            "checks": [],
        }
        if plan.facts["verify"]:
            with self.context.change(f"Check {checkout.target} in {checkout.scratch.path}"):
                evidence["checks"] = verify(checkout, self.context.secrets)
        return evidence

    def switch(self, plan: Plan) -> None:
        """``reset --hard`` of the branch that is checked out, after another check of what it would take."""
        checkout = Checkout(self.context, plan.facts)
        terminate_leftover_processes(checkout.marker, PATIENCE_S)
        record = checkout.recorder.read()
        if record is None:
            raise LastGoodError(f"{checkout.top} is not prepared: nothing was reset. Start again with a new plan.")
        marker = ResetMarker(self.context)
        again = marker.read() is not None
        if not again:
            self._require_before(checkout)
            if not checkout.recorder.is_current(record):
                with self.context.change(f"Archive what changed in {checkout.top} since it was prepared"):
                    record = self._record(plan, checkout)
            marker.set(done=False)
        else:
            marker.remove_own_locks(checkout)
            checkout.recorder.keep("interrupted", checkout.target)
        with self.context.change(f"Reset {checkout.top} to {checkout.target}", before=checkout.before.commit):
            reset_checkout(checkout, checkout.target, checkout.after, None if again else record)
            keep_ignored(checkout, record)
            tidy(checkout, record)
            self._apply_changes(plan, checkout)
            for move in plan.facts["submodules"]:
                move_submodule(checkout, move["path"], move["target"], None)
        marker.set(done=True)

    def undo(self, plan: Plan) -> None:
        """Back to the commit, the index and the worktree of before, byte for byte."""
        checkout = Checkout(self.context, plan.facts)
        terminate_leftover_processes(checkout.marker, PATIENCE_S)
        if self.state(plan) is State.FOREIGN:
            raise StateConflict(foreign(checkout, self.context.workspace))
        record = checkout.recorder.read()
        marker = ResetMarker(self.context)
        begun = marker.read() is not None or checkout.git.head() != checkout.before
        if begun and record is None:
            raise StateConflict(
                f"{checkout.top}: the record of what was there before is missing from {self.context.workspace}. "
                f"The commit before was {checkout.before.commit} ({plan.facts['emergency_ref']})."
            )
        if begun and record is not None:
            marker.set(done=False)
            marker.remove_own_locks(checkout)
            with self.context.change(f"Reset {checkout.top} back to {checkout.before.commit}"):
                self._restore_before(plan, checkout, record)
        self._clear(checkout)

    def finish(self, plan: Plan) -> None:
        """Leave the hold that a deployment can test for, and drop the scratch tree; all else is what undo needs."""
        checkout = Checkout(self.context, plan.facts)
        checkout.scratch.remove()
        if plan.facts["target_ref"]:
            checkout.git.delete_ref(plan.facts["target_ref"], checkout.target)
        if plan.facts["mode"] == PATHS:
            return  # the branch is where it was: nothing was rejected that a deployment could bring back
        why = (
            f"This checkout was rolled back from {checkout.before.commit} to {checkout.target}: a plain git pull, or a "
            "deployment, brings what was rejected back."
        )
        with self.context.change(f"Hold {checkout.top} at {checkout.target}"):
            checkout.hold.leave(self.context.transaction, why)

    def state(self, plan: Plan) -> State:
        """Compare HEAD and its branch with the plan; the mark tells a reset that began from one that never did."""
        checkout = Checkout(self.context, plan.facts)
        try:
            checkout.git.layout()
            head = checkout.git.head()
        except Refused:
            return State.FOREIGN
        marker = ResetMarker(self.context).read()
        if head.branch != checkout.before.branch or head.commit not in (checkout.before.commit, checkout.after):
            return State.FOREIGN
        if marker is not None and self._others_staged(checkout):
            return State.FOREIGN
        if marker is not None and not marker["done"]:
            return State.PARTIAL
        if head.commit == checkout.after and (marker is not None or head.commit != checkout.before.commit):
            return State.SWITCHED
        if marker is not None:  # switched once, and HEAD is where it was before: an undo that was cut off
            return State.PARTIAL
        return State.PREPARED if self._has_leftovers(checkout) else State.UNTOUCHED

    def kept(self, plan: Plan) -> JsonObject:
        """The emergency branch, the archives of what was never committed, and the hold; what there is of them."""
        checkout = Checkout(self.context, plan.facts)
        found: JsonObject = {}
        if plan.facts["emergency_ref"] and checkout.git.ref(plan.facts["emergency_ref"]):
            found["commits"] = plan.facts["emergency_ref"].replace("refs/heads/", f"{plan.name}, branch ", 1)
        made = {*self.context.workspace.glob("*-*.tar")} - {self.context.workspace / local_changes.POINTS_ARCHIVE}
        archives = [path for path in sorted(made) if holds_work(path)]
        if archives:
            found["uncommitted work"] = [str(path) for path in archives]
        if checkout.hold.read() == self.context.transaction:
            found["hold"] = str(checkout.hold.file)
        return found

    def result(self, plan: Plan, evidence: Mapping[str, Any]) -> JsonObject:
        """The documented return values of ``git_reset``."""
        return {
            "before": plan.before,
            "after": plan.after,
            "emergency_ref": plan.facts["emergency_ref"],
            "archive": evidence.get("archive"),
            "discarded_commits": plan.discards.get("commits", []),
            "changed_files": sorted(plan.after.get("files", {})),
        }

    # -- parts

    def _copy_changes(self, plan: Plan, checkout: Checkout) -> None:
        """Copy what belongs to the target and is in no commit, so that the switch depends on nobody's directory."""
        if plan.facts["dirt_of_point"]:
            local_changes.copy_captured(plan.facts["dirt_of_point"], self.context.workspace)

    def _apply_changes(self, plan: Plan, checkout: Checkout) -> None:
        """Put what was taken along into the worktree, where the target's commit is checked out by now."""
        if plan.facts["dirt_of_point"]:
            local_changes.apply(self.context.workspace, checkout.top, checkout.owner, checkout.selected)

    def _restore_before(self, plan: Plan, checkout: Checkout, record: Record) -> None:
        """Step by step; what can't be done, as where a filter of the checkout never ends, does not stop the rest.

        :raises UndoIncomplete: with what is left to do.
        """
        before, failed = checkout.before.commit, []

        def tried(step: Callable[[], object]) -> bool:
            try:
                step()
            except (LastGoodError, OSError) as error:
                failed.append(str(error))
                # Of a git that was stopped.
                ResetMarker(self.context).remove_own_locks(checkout)
                return False
            return True

        kept = tried(lambda: checkout.recorder.keep("rejected", before, also=record.entries))
        if not kept:
            checkout.recorder.keep_places("rejected", record)
        if not kept or not tried(lambda: reset_checkout(checkout, before, before)):
            # Without reading any file: what the reset had replaced is in the record.
            tried(lambda: checkout.git.move_head(before))
        for move in plan.facts["submodules"]:
            tried(partial(move_submodule, checkout, move["path"], move["before"], move["branch"]))
        tried(lambda: checkout.recorder.apply(record))
        if failed:
            raise UndoIncomplete(
                f"{checkout.top} was put back as far as possible: commit, index, and files from the record. Left to do: "
                f"{' | '.join(failed)}. Mend that, look at git status, then undo again."
            )

    def _require_before(self, checkout: Checkout) -> None:
        layout, head = checkout.git.layout(), checkout.git.head()
        if head != checkout.before:
            raise Refused(
                f"{checkout.top} is at {head.commit} ({head.branch or 'detached'}) and was at "
                f"{checkout.before.commit} ({checkout.before.branch or 'detached'}) when this was planned: plan again."
            )
        checks.require_quiet(layout, head)

    def _make_refs(self, plan: Plan, checkout: Checkout) -> None:
        """The emergency branch, and of reverts the commit that the switch moves to."""
        remove_own_ref_locks(checkout)
        if plan.facts["emergency_ref"]:
            what = f"Keep {checkout.before.commit} of {checkout.top} as {plan.facts['emergency_ref']}"
            with self.context.change(what):
                checkout.git.create_ref(plan.facts["emergency_ref"], checkout.before.commit)
        if plan.facts["target_ref"]:
            with self.context.change(f"Commit the reverts in {checkout.top} as {checkout.target}"):
                commit_reverts(checkout)
                checkout.git.create_ref(plan.facts["target_ref"], checkout.target)

    def _others_staged(self, checkout: Checkout) -> bool:
        record = None if checkout.selected.is_all else checkout.recorder.read()
        return record is not None and checkout.recorder.others_staged(record)

    def _record(self, plan: Plan, checkout: Checkout) -> Record:
        """Archive, and keep staged blobs alive by a ref: they are in no commit."""
        record = checkout.recorder.make(checkout.target)
        if any(entry.why == "staged" for entry in record.entries):
            with checkout.scratch.made() as scratch:
                staged = local_changes.staged_commit(checkout.git, checkout.owner, Path(plan.facts["index"]), scratch)
            arguments = ("update-ref", plan.facts["staged_ref"], staged)
            checkout.git.text(*arguments, attempt=f"Keeping what is staged in {checkout.top}")
        return record

    def _clear(self, checkout: Checkout) -> None:
        """Remove what prepare and finish have made; the evidence stays in the workspace."""
        with self.context.change(f"Remove what was prepared beside {checkout.top}"):
            remove_own_ref_locks(checkout)
            for name, commit in checkout.own_refs().items():
                checkout.git.delete_ref(name, commit)
            if checkout.hold.read() == self.context.transaction:
                checkout.hold.release()
            checkout.scratch.remove()
            ResetMarker(self.context).remove()
            checkout.recorder.forget()

    def _has_leftovers(self, checkout: Checkout) -> bool:
        if checkout.own_refs():
            return True
        return checkout.scratch.path.exists() or checkout.recorder.read() is not None
