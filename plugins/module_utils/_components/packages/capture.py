# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Capturing an environment: wheels of exactly what is installed, a lock file, and what made the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import show_progress
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from . import link, wheels
from .environment import Environment, failed_imports, inspect_environment
from .lock_file import Pin, render

#: Seconds for importing all modules that the operator named.
IMPORT_TIMEOUT = 120


def capture(run: CommandRunner, path: Path, owner: User, imports: Sequence[str], into: Path) -> JsonObject:
    """Write ``wheels/`` and ``requirements.txt`` below ``into``; return the facts that a plan needs later.

    :param run: runs programs as the owner.
    :raises Refused: for what can't be packed exactly, and for an environment in which an import fails.
    """
    environment = inspect_environment(run, path)
    _require_packable(environment)
    failed = failed_imports(run, path, imports, IMPORT_TIMEOUT)
    if failed:
        raise Refused(f"{path} is not worth keeping as known good: {failed_imports_text(failed)}")
    wheels_directory = into / "wheels"
    wheels_directory.mkdir(mode=0o700)
    packed_wheels = {}
    for number, one in enumerate(environment.distributions, 1):
        show_progress(f"Packing {one.name}, {number} of {len(environment.distributions)} packages of {path}")
        packed_wheels[one.name] = wheels.pack(one, environment, wheels_directory, owner)
    versions = environment.packages
    pins = [Pin(name, versions[name], (wheel.sha256,)) for name, wheel in packed_wheels.items()]
    write_atomic(into / "requirements.txt", render(pins).encode())
    return {
        "path": str(path),
        "live": link.inspect_live(path).to_json(),
        "python": environment.interpreter.to_json(),
        "system_site": environment.system_site,
        "prompt": environment.prompt,
        "imports": list(imports),
        "packages": versions,
        "origins": environment.origins,
        "sources": {one.name: one.source for one in environment.distributions if one.source},
        "wheels": {
            name: {
                "file": f"wheels/{wheel.file}",
                "sha256": wheel.sha256,
                "bytes": wheel.bytes,
                "unpacked_bytes": wheel.unpacked_bytes,
            }
            for name, wheel in packed_wheels.items()
        },
        "modified": {name: list(wheel.modified) for name, wheel in packed_wheels.items() if wheel.modified},
        "unowned": wheels.unowned(environment, owner),
    }


def failed_imports_text(failed: Mapping[str, str]) -> str:
    """Failed imports as words."""
    return "; ".join(f"importing {name} fails: {why}" for name, why in sorted(failed.items()))


def _require_packable(environment: Environment) -> None:
    problems = [
        (list(environment.damaged), "damaged, or not installed from wheels"),
        (environment.duplicates, "installed more than once"),
    ]
    found = [f"{', '.join(names)}: {what}" for names, what in problems if names]
    if found:
        raise Refused(
            f"The packages of {environment.path} can't be captured exactly. {'; '.join(found)}."
            " Install them as ordinary packages, or capture without this environment."
        )
