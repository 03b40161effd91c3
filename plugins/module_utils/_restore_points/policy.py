# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Which restore points may become good, be replaced or go. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import Header

from .capture import epoch, utc_now
from .manifest import Good, Manifest, stack_digest
from .store import RestorePoint


def refuse_another(there: Manifest, stack: str, keys: Sequence[str]) -> None:
    """A name is never used for something else than what has it.

    :param keys: ``kind:name`` of each component that is asked for, sorted.
    """
    if there.stack != stack or there.keys != tuple(keys):
        raise Refused(
            f"Restore point {there.name!r} exists already, of stack {there.stack!r} with "
            f"{', '.join(there.keys)}. It is never overwritten: choose another name."
        )


def becomes_good(
    point: RestorePoint,
    hosts: Mapping[str, str],
    checks: Sequence[JsonObject],
    transactions: Iterable[Header | None],
) -> bool:
    """Whether a restore point is to be marked good; false when it is already, for the same hosts.

    :param hosts: host → SHA-256 of the manifest that the checks there were made with.
    :param checks: their results, each with ``name`` and ``ok``.
    :param transactions: those of this host, of any stack.
    :raises Refused: when it can't be good.
    """
    manifest = point.manifest
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
    failed = [str(check.get("name")) for check in checks if not check.get("ok")]
    if failed:
        raise Refused(f"{what}: these checks failed: {', '.join(failed)}. Mend the stack, then capture again.")
    findings = point.verify()
    if findings:
        raise Refused(f"{what}: {'; '.join(findings)}.")
    # The checks have to be about what was captured; a rollback since then put something else there.
    for header in transactions:
        if header is not None and header.stack == manifest.stack and header.created >= epoch(manifest.created):
            raise Refused(
                f"{what}: transaction {header.id} began since it was captured, so the checks may be about something else. "
                "Capture and check again."
            )
    return True


def good_for(
    manifest: Manifest, hosts: Mapping[str, str], components: Mapping[str, list[str]], checks: Sequence[JsonObject]
) -> Good:
    """The record that a restore point is good from now on, and for what; see `becomes_good`.

    :param components: host → keys, of the other hosts.
    """
    components = {**components, manifest.host: list(manifest.keys)}
    return Good(manifest.id, stack_digest(hosts), hosts, components, tuple(checks), utc_now())


def surplus(points: Iterable[RestorePoint], good: Manifest, keep: int | None) -> list[str]:
    """Names of what may go when the newest ``keep`` good ones of a stack stay, and at least one of them.

    Those that never became good go once they are older than the oldest good one that stays.

    :param points: all there are, newest first.
    :param good: one of the stack, that counts as good already.
    :param keep: None when all stay.
    """
    of_stack = [point for point in points if point.manifest.stack == good.stack]
    good_points = [point for point in of_stack if point.good is not None or point.manifest.name == good.name]
    if keep is None or not good_points:
        return []
    oldest = good_points[: max(keep, 1)][-1].manifest.created
    return [point.manifest.name for point in of_stack if point.manifest.created < oldest]


def refuse_last_good(points: Iterable[RestorePoint], leaving: Manifest) -> None:
    """The newest good one of a stack is not removed.

    :param points: all there are, newest first.
    """
    newest = next((point for point in points if point.good is not None and point.manifest.stack == leaving.stack), None)
    if newest is not None and newest.manifest.name == leaving.name:
        raise Refused(
            f"Restore point {leaving.name!r} is the last good one of stack {leaving.stack!r}. "
            "Make a newer one first, or remove it with force."
        )
