# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The set of packages that is wanted: from a restore point, or from a file of locked requirements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused

from ..context import PointEntry
from .environment import Interpreter
from .lock_file import Pin, parse, render
from .wheelhouse import Wheel, captured_wheels, matching_wheels


@dataclass(frozen=True)
class Target:
    """The wanted set: how it is called, what it holds, and what it is installed from.

    :param origins: of editable packages, and of those from a repository: see `Distribution.origin`; nothing where any will do.
    :param from_index: the wheels are fetched from a package index while it is built.
    :param warnings: sentences for the operator.
    """

    packages: dict[str, str]
    wheels: list[Wheel]
    lock: str
    imports: list[str]
    origins: dict[str, str] | None = None
    system_site: bool = False
    prompt: str = ""
    from_index: bool = False
    warnings: tuple[str, ...] = ()


def from_point(point: PointEntry, options: Mapping[str, Any], path: Path) -> Target:
    """What a restore point holds of the environment at a path.

    :raises Refused: when a wheel was damaged, or an editable package's directory is gone.
    """
    facts = point.facts
    packages = {str(name): str(version) for name, version in facts["packages"].items()}
    wheels = captured_wheels(facts["wheels"], packages, point.directory)
    _require_sources(facts.get("sources", {}), path)
    return Target(
        packages=packages,
        wheels=wheels,
        lock=render(Pin(wheel.name, wheel.version, (wheel.sha256,)) for wheel in wheels),
        imports=list(options.get("imports") or facts["imports"]),
        origins=facts.get("origins"),
        system_site=facts["system_site"],
        prompt=facts["prompt"] or path.name,
        warnings=tuple(_capture_warnings(facts)),
    )


def from_requirements(options: Mapping[str, Any], base: Interpreter) -> Target:
    """What a file of locked requirements asks for, for one interpreter.

    :raises Refused: when it can't be read, asks for something that is not locked, or the wheelhouse lacks something.
    """
    where = str(options["requirements"])
    try:
        pins = parse(Path(where).read_text(encoding="utf-8"), where, base)
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"The requirements file {where} can't be read: {error}.") from error
    wheelhouse = options.get("wheelhouse")
    wheels = matching_wheels(Path(wheelhouse), pins, where) if wheelhouse else []
    digests = {wheel.sha256 for wheel in wheels}
    exact = [
        Pin(pin.name, pin.version, tuple(d for d in pin.digests if not wheelhouse or d in digests)) for pin in pins
    ]
    fetched = () if wheelhouse else ("Without a wheelhouse the package index has to answer while this is prepared.",)
    return Target(
        packages={pin.name: pin.version for pin in pins},
        wheels=wheels,
        lock=render(exact),
        imports=list(options.get("imports") or []),
        from_index=not wheelhouse,
        warnings=fetched,
    )


def with_origins(packages: Mapping[str, str], origins: Mapping[str, str]) -> dict[str, str]:
    """Canonical name → version for people, with the origin where there is one: two of one version may differ in it."""
    return {name: f"{version} ({origins[name]})" if name in origins else version for name, version in packages.items()}


def _capture_warnings(facts: Mapping[str, Any]) -> list[str]:
    """What was not as it should be when it was captured, or is not in the wheels."""
    warnings = [
        f"{name} had been changed by hand when it was captured: {', '.join(files)}."
        for name, files in facts["modified"].items()
    ]
    if facts["unowned"]:
        left = ", ".join(facts["unowned"])
        warnings.append(f"Files of no package were not captured, and will not be in the new environment: {left}.")
    for name, source in facts.get("sources", {}).items():
        warnings.append(
            f"{name} is installed in editable mode: its code stays in {source}, and goes back only with what is there."
        )
    return warnings


def _require_sources(sources: Mapping[str, str], path: Path) -> None:
    missing = [f"{name} in {source}" for name, source in sources.items() if not Path(source).is_dir()]
    if missing:
        raise Refused(
            f"{path} had packages in editable mode when it was captured, and their directories are gone:"
            f" {', '.join(missing)}. Put them back first."
        )
