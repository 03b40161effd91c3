# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The target of a plan, checked out in a scratch tree and tried there; single paths with the rest as committed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import acting_as

from .checkout import Checkout
from .selection import PATHS
from .verify import check_out, verify_tree


def verify(checkout: Checkout, secrets: Mapping[str, Any]) -> list[str]:
    """Compile and run what the plan says; what was done, one line each.

    :param secrets: ``test_environment`` of the commands; and the ``commands`` themselves where there is a secret in them.
    :raises VerificationFailed: when one of them does not hold.
    """
    options = dict(checkout.facts["verify"])
    options["commands"] = secrets.get("commands") or options.get("commands") or []
    variables = secrets.get("test_environment") or {}
    with checkout.scratch.made() as scratch:
        with acting_as(checkout.owner):
            (scratch / "tree").mkdir()
        if checkout.facts["mode"] == PATHS:
            tree = check_out(checkout.git, checkout.before.commit, scratch)
            sources = _check_out_paths(checkout, scratch, tree)
            options["compile"] = sorted({*options.get("compile", ()), *sources})
        else:
            tree = check_out(checkout.git, checkout.target, scratch)
        run = checkout.run.with_env({"HOME": str(scratch), "PWD": str(tree)})
        checker = run.with_env({str(name): str(value) for name, value in variables.items()})
        return verify_tree(tree, checker, options, checkout.facts["python"])


def _check_out_paths(checkout: Checkout, scratch: Path, tree: Path) -> list[str]:
    """Bring the selected paths into the scratch tree; those of them that are Python sources, and no links."""
    git = checkout.git.with_env({"GIT_INDEX_FILE": str(scratch / "index"), "GIT_WORK_TREE": str(tree)})
    against = [one for one in git.index_against(checkout.target) if checkout.selected.covers(one.path)]
    git.restore_paths(checkout.target, against)
    rows = checkout.git.tree_paths(checkout.target)
    files = (path for mode, _blob, _bytes, path in rows if mode != "120000" and checkout.selected.covers(path))
    return [path for path in files if path.endswith(".py")]
