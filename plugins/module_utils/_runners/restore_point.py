# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The module ``restore_point``: parameters in, a restore point made, marked good or removed."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import dump_json
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.lock import refuse_if_held
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import all_records
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.capture import (
    Request,
    capture,
    refuse_impossible,
    survey,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.describe import describe, nothing
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.manifest import require_name
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.policy import (
    becomes_good,
    good_for,
    refuse_another,
    refuse_last_good,
    surplus,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.requests import (
    delete_captured,
    requests_from,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.writable_store import (
    WritableRestorePoints,
)

from .run import run_guarded

#: What of a restore point is at the top of the result, besides the whole of it in ``manifest``.
RETURNED = ("name", "id", "bytes", "consistent", "moved", "good", "good_digest", "components")


def run_restore_point(*, argument_spec: Mapping[str, Any], **constraints: Any) -> NoReturn:
    """The main of ``restore_point``."""
    module = AnsibleModule(argument_spec=dict(argument_spec), supports_check_mode=True, **constraints)
    run_guarded(module, lambda: _nothing_touched(module.params, check=module.check_mode))


def _nothing_touched(params: Mapping[str, Any], *, check: bool) -> JsonObject:
    """A failure here never leaves anything to undo: whatever it was, the module refused."""
    try:
        store = WritableRestorePoints(Path(params["state_dir"]), delete_captured)
        return _STATES[params["state"]](store, params, check)
    except LastGoodError as error:
        raise Refused(error.message) from error
    except OSError as error:
        raise Refused(f"Restore point {params['name']!r}: {error}.") from error


def _present(store: WritableRestorePoints, params: Mapping[str, Any], check: bool) -> JsonObject:
    host = params["host"] or platform.node()
    request = Request(require_name(params["name"]), params["stack"], host, requests_from(params))
    # First of all: whatever else there is to say of a stack in the middle of a rollback may be wrong in a moment.
    lock_keys = [key for component in request.components for key in component.lock_keys]
    keys = [component.key for component in request.components if not component.lock_keys]
    refuse_if_held(store.state_dir, "", request.stack, lock_keys, keys)
    refuse_impossible(request)
    existing = _existing(store, request)
    if existing:
        return existing
    if check:
        survey(request, store.directory)
        planned = {"stack": request.stack, "host": host, "components": list(request.keys)}
        return _result(request.name, {}, {"name": request.name, **planned})
    with store.lock(f"restore point {request.name} is being captured"):
        existing = _existing(store, request)
        if existing:
            return existing
        store.sweep()
        return _result(request.name, {}, describe(capture(store, request)))


def _existing(store: WritableRestorePoints, request: Request) -> JsonObject | None:
    if request.name not in store.names():
        return None
    point = store.open(request.name)
    refuse_another(point.manifest, request.stack, request.keys)
    return _result(request.name, describe(point), describe(point))


def _good(store: WritableRestorePoints, params: Mapping[str, Any], check: bool) -> JsonObject:
    name, hosts, checks = params["name"], params["hosts"], params["checks"]
    with _lock_unless(check, store, f"restore point {name} is being marked good"):
        point = marked = store.open(name)
        refuse_if_held(store.state_dir, "", point.manifest.stack)
        transactions = (records.header() for records in all_records(store.state_dir))
        if becomes_good(point, hosts, checks, transactions):
            good = good_for(point.manifest, hosts, params["components_by_host"], checks)
            marked = replace(point, good=good)
            if not check:
                store.mark_good(point, good)
        removed = surplus(store.readable(), point.manifest, params["keep"])
        for each in () if check else removed:
            store.remove(each)
    return _result(name, describe(point), describe(marked), removed)


def _absent(store: WritableRestorePoints, params: Mapping[str, Any], check: bool) -> JsonObject:
    name = require_name(params["name"])
    if name not in store.names():
        return _result(name, {}, {})
    try:
        point = store.open(name)
    except Refused:
        before: JsonObject = {"name": name}
    else:
        refuse_if_held(store.state_dir, "", point.manifest.stack)
        if not params["force"]:
            refuse_last_good(store.readable(), point.manifest)
        before = describe(point)
    with _lock_unless(check, store, f"restore point {name} is being removed"):
        if not check:
            store.remove(name)
    return _result(name, before, {}, removed=[name])


def _result(name: str, before: JsonObject, after: JsonObject, removed: Sequence[str] = ()) -> JsonObject:
    """The module's return values; the same keys whatever was done, and in check mode."""
    shown = {**nothing(name), **after}
    return {
        "changed": before != after or bool(removed),
        "diff": {"before": _text(before), "after": _text(after)},
        "sha256": shown["manifest_sha256"],
        "manifest": shown,
        "removed": list(removed),
        **{key: shown[key] for key in RETURNED},
    }


@contextmanager
def _lock_unless(check: bool, store: WritableRestorePoints, purpose: str) -> Iterator[None]:
    """The store's lock, and a clean store; in check mode nothing is written, not even a lock."""
    if check:
        yield
        return
    with store.lock(purpose):
        store.sweep()
        yield


def _text(value: JsonObject) -> str:
    return dump_json(value).decode() if value else ""


_STATES = {"present": _present, "good": _good, "absent": _absent}
