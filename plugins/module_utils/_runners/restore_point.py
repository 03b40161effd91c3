# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Between Ansible and the store of restore points: the work of restore_point and restore_point_info."""

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
    epoch,
    refuse_impossible,
    survey,
    utc_now,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.describe import describe, nothing
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.manifest import (
    Good,
    require_name,
    stack_digest,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.requests import (
    delete_captured,
    requests_from,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.store import RestorePoint
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
        return _STATES[params["state"]](params, check)
    except LastGoodError as error:
        raise Refused(error.message) from error
    except OSError as error:
        raise Refused(f"Restore point {params['name']!r}: {error}.") from error


def _present(params: Mapping[str, Any], check: bool) -> JsonObject:
    store = WritableRestorePoints(Path(params["state_dir"]), delete_captured)
    host = params["host"] or platform.node()
    request = Request(require_name(params["name"]), params["stack"], host, requests_from(params))
    # First of all: whatever else there is to say of a stack in the middle of a rollback may be wrong in a moment.
    things = [thing for wanted in request.components for thing in wanted.things]
    keys = [wanted.key for wanted in request.components if not wanted.things]
    refuse_if_held(store.state_dir, "", request.stack, things, keys)
    refuse_impossible(request)
    if request.name in store.names():
        there = describe(_same_as_asked(store.open(request.name), request))
        return _result(request.name, there, there)
    if check:
        survey(request, store.directory)
        planned = {"stack": request.stack, "host": host, "components": list(request.keys)}
        return _result(request.name, {}, {"name": request.name, **planned})
    with store.lock(f"restore point {request.name} is being captured"):
        if request.name in store.names():
            there = describe(_same_as_asked(store.open(request.name), request))
            return _result(request.name, there, there)
        store.sweep()
        return _result(request.name, {}, describe(capture(store, request)))


def _same_as_asked(point: RestorePoint, request: Request) -> RestorePoint:
    manifest = point.manifest
    if manifest.stack != request.stack or manifest.keys != request.keys:
        raise Refused(
            f"Restore point {request.name!r} exists already, of stack {manifest.stack!r} with "
            f"{', '.join(manifest.keys)}. It is never overwritten: choose another name."
        )
    return point


def _good(params: Mapping[str, Any], check: bool) -> JsonObject:
    store = WritableRestorePoints(Path(params["state_dir"]), delete_captured)
    name = params["name"]
    with _lock_unless(check, store, f"restore point {name} is being marked good"):
        point = store.open(name)
        refuse_if_held(store.state_dir, "", point.manifest.stack)
        before = describe(point)
        after = before
        if _refuse_if_not_good(point, params):
            _refuse_after_a_rollback(store, point)
            good = _record(point, params)
            if not check:
                store.mark_good(point, good)
            after = describe(replace(point, good=good))
        removed = _prune(store, point, params["keep"], check=check)
    return _result(name, before, after, removed=removed)


def _refuse_if_not_good(point: RestorePoint, params: Mapping[str, Any]) -> bool:
    """Whether it still has to be marked; raises when it can't be."""
    manifest, hosts = point.manifest, params["hosts"]
    what = f"Restore point {manifest.name!r} can't be marked good"
    if point.findings:
        raise Refused(f"{what}: {'; '.join(point.findings)}. Make a new one.")
    if hosts.get(manifest.host) != point.sha256:
        raise Refused(
            f"{what}: the checks were made with the manifest {hosts.get(manifest.host)} of {manifest.host}, "
            f"but the one here is {point.sha256}. Capture and check again."
        )
    if point.good is not None:
        if point.good.digest != stack_digest(hosts):
            raise Refused(f"{what}: it is good already, for {', '.join(sorted(point.good.hosts))}. Make a new one.")
        return False
    if not manifest.consistent:
        raise Refused(f"{what}: {'; '.join(manifest.moved)}. Capture again when nothing is being deployed.")
    failed = [str(check.get("name")) for check in params["checks"] if not check.get("ok")]
    if failed:
        raise Refused(f"{what}: these checks failed: {', '.join(failed)}. Mend the stack, then capture again.")
    findings = point.verify()
    if findings:
        raise Refused(f"{what}: {'; '.join(findings)}.")
    return True


def _refuse_after_a_rollback(store: WritableRestorePoints, point: RestorePoint) -> None:
    """The checks have to be about what was captured; a rollback since then put something else there."""
    stack, captured = point.manifest.stack, epoch(point.manifest.created)
    for records in all_records(store.state_dir):
        header = records.header()
        if header is not None and header.stack == stack and header.created >= captured:
            raise Refused(
                f"Restore point {point.manifest.name!r} can't be marked good: transaction {header.id} began since it was "
                "captured, so the checks may be about something else. Capture and check again."
            )


def _record(point: RestorePoint, params: Mapping[str, Any]) -> Good:
    components = {**params["components_by_host"], point.manifest.host: list(point.manifest.keys)}
    return Good(
        id=point.manifest.id,
        digest=stack_digest(params["hosts"]),
        hosts=params["hosts"],
        components=components,
        checks=tuple(params["checks"]),
        at=utc_now(),
    )


def _prune(store: WritableRestorePoints, good: RestorePoint, keep: int | None, *, check: bool) -> list[str]:
    """Names of those that are gone (or would be)."""
    if keep is None:
        return []
    surplus = store.surplus(good.manifest.stack, keep, good.manifest.name)
    for name in () if check else surplus:
        store.remove(name)
    return surplus


def _absent(params: Mapping[str, Any], check: bool) -> JsonObject:
    store = WritableRestorePoints(Path(params["state_dir"]), delete_captured)
    name = require_name(params["name"])
    if name not in store.names():
        return _result(name, {}, {})
    try:
        point = store.open(name)
    except Refused:
        before: JsonObject = {"name": name}
    else:
        _refuse_if_needed(store, point, force=params["force"])
        before = describe(point)
    with _lock_unless(check, store, f"restore point {name} is being removed"):
        if not check:
            store.remove(name)
    return _result(name, before, {}, removed=[name])


def _refuse_if_needed(store: WritableRestorePoints, point: RestorePoint, *, force: bool) -> None:
    refuse_if_held(store.state_dir, "", point.manifest.stack)
    good = [one for one in store.readable() if one.good is not None and one.manifest.stack == point.manifest.stack]
    if good and good[0].manifest.name == point.manifest.name and not force:
        raise Refused(
            f"Restore point {point.manifest.name!r} is the last good one of stack {point.manifest.stack!r}. "
            "Make a newer one first, or remove it with force."
        )


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
