# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A rolled back checkout goes back to what it was: commit, index, and all that was never committed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import user_by_uid
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import ensure_private_directory

from ..base import FinishedRollback
from ..plan import Plan
from .checkout import Checkout
from .component import Code
from .plan import plan_checkout


class CodeReversal(Code):
    """A reset to the commit of before, and then the record that was made right before the earlier reset."""

    def plan_reversal(self, finished: FinishedRollback) -> Plan:
        """The commit is there: a branch of ours held it. What was written since is archived, like before any reset."""
        then = finished.plan.facts
        checkout = Checkout(replace(self.context, workspace=finished.workspace), then)
        if not checkout.selected.is_all:
            raise Refused(f"{checkout.top} can't be undone as a whole: only some of its paths were rolled back.")
        record = checkout.recorder.read()
        if record is None or not checkout.recorder.archive_of(record).is_file():
            raise Refused(f"{checkout.top}: the record of what was there before is gone from {finished.workspace}.")
        owner = user_by_uid(int(then["owner_uid"])).name if then["trust"] else None
        options = {"path": then["path"], "owner": owner, "to": checkout.before.commit, "timeout": then.get("timeout")}
        plan = plan_checkout(self.context, options, None)
        has_hold = checkout.hold.read() == finished.transaction
        return replace(
            plan,
            name=finished.plan.name,
            changed=True,
            before={**plan.before, "modified": finished.plan.after["modified"]},
            after=finished.plan.before,
            facts={**plan.facts, "earlier": str(finished.workspace), "held_by": finished.transaction, "python": ""},
            disk_bytes=plan.disk_bytes + sum(entry.bytes for entry in record.entries),
            warnings=(f"{checkout.top}: its hold is released, so that deployments go on.",) if has_hold else (),
            undoes=finished.transaction,
        )

    def finish(self, plan: Plan) -> None:
        """Let deployments go on: what they had brought is live again."""
        checkout = Checkout(self.context, plan.facts)
        checkout.scratch.remove()
        if checkout.hold.read() == plan.facts["held_by"]:
            with self.context.change(f"Release the hold of {checkout.top}"):
                checkout.hold.release()

    def _copy_changes(self, plan: Plan, checkout: Checkout) -> None:
        ensure_private_directory(self.context.workspace / "earlier")
        checkout.earlier.copy_from(Path(plan.facts["earlier"]))

    def _apply_changes(self, plan: Plan, checkout: Checkout) -> None:
        record = checkout.earlier.read()
        if record is not None:
            checkout.earlier.apply(record)
