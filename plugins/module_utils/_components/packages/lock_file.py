# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Requirements that are locked: every line one exact version with the SHA-256 of its wheels.

Only what can be installed without asking anybody is accepted. Environment markers are evaluated here, so that a plan
knows the exact set before anything is installed.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused

from .environment import Interpreter, canonical

_PIN = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*==\s*(?P<version>[^\s;*]+)\s*(?:;(?P<marker>.*))?")
_HASH = re.compile(r"\s--hash[= ](?P<algorithm>\w+):(?P<digest>[0-9a-fA-F]+)")
#: Where to look for packages is decided by the module, not by the file.
_IGNORED = (
    "--index-url",
    "-i ",
    "--extra-index-url",
    "--find-links",
    "-f ",
    "--no-index",
    "--only-binary",
    "--no-binary",
)
_VERSIONS = ("python_version", "python_full_version", "implementation_version")
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


@dataclass(frozen=True)
class Pin:
    """One locked distribution: canonical name, version, and the SHA-256 digests that are accepted for it."""

    name: str
    version: str
    digests: tuple[str, ...]


def render(pins: Iterable[Pin]) -> str:
    """The lines that pip and uv read, sorted by name."""
    lines = []
    for pin in sorted(pins, key=lambda pin: pin.name):
        hashes = "".join(f" --hash=sha256:{digest}" for digest in pin.digests)
        lines.append(f"{pin.name}=={pin.version}{hashes}\n")
    return "".join(lines)


def parse(text: str, where: str, interpreter: Interpreter) -> list[Pin]:
    """Read a locked requirements file for one interpreter; lines whose marker does not hold are left out.

    :param where: the file's path, for messages.
    :raises Refused: for a line that is not exactly one version with at least one SHA-256, naming the line.
    """
    pins: dict[str, Pin] = {}
    for number, line in _logical_lines(text):
        if line.startswith(_IGNORED):
            continue
        pin = _pin(line, f"{where}, line {number}", interpreter)
        if pin is None:
            continue
        if pins.setdefault(pin.name, pin) != pin:
            raise Refused(f"{where}, line {number}: {pin.name} is listed twice with different versions or hashes.")
    return list(pins.values())


def _logical_lines(text: str) -> Iterable[tuple[int, str]]:
    """Lines without comments, continuation lines joined; each with the number of its first line."""
    joined, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        start = start or number
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        if (joined + line).strip():
            yield start, (joined + line).strip()
        joined, start = "", 0
    if joined.strip():
        yield start, joined.strip()


def _pin(line: str, where: str, interpreter: Interpreter) -> Pin | None:
    options = line.find(" --")
    found = _PIN.fullmatch((line if options < 0 else line[:options]).strip())
    if not found:
        raise Refused(
            f"{where}: {line[:80]!r} is not 'name==version --hash=sha256:…'. Only exact versions can be brought back;"
            " write the file with 'uv pip compile --generate-hashes' or 'pip-compile --generate-hashes'."
        )
    marker = (found["marker"] or "").strip()
    if marker and not marker_holds(marker, where, interpreter):
        return None
    digests = {hit["digest"].lower() for hit in _HASH.finditer(line) if hit["algorithm"] == "sha256"}
    if not digests:
        raise Refused(
            f"{where}: {found['name']}=={found['version']} has no --hash=sha256:…, so nothing can be verified."
        )
    return Pin(canonical(found["name"]), found["version"], tuple(sorted(digests)))


def marker_holds(marker: str, where: str, interpreter: Interpreter) -> bool:
    """Evaluate an environment marker such as ``python_version < "3.12" and sys_platform == "linux"``.

    :raises Refused: for what is not a marker, or needs a comparison that is not known here.
    """
    try:
        return _evaluate(ast.parse(marker, mode="eval").body, _facts(interpreter))
    except (SyntaxError, ValueError, TypeError) as error:
        raise Refused(f"{where}: the marker {marker!r} can't be evaluated: write the file for one platform.") from error


def _facts(interpreter: Interpreter) -> dict[str, str]:
    names = {"cpython": "CPython", "pypy": "PyPy"}
    return {
        "python_version": interpreter.series,
        "python_full_version": interpreter.version,
        "implementation_version": interpreter.version,
        "implementation_name": interpreter.implementation,
        "platform_python_implementation": names.get(interpreter.implementation, interpreter.implementation),
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": interpreter.platform.partition("-")[2],
        "extra": "",
    }


def _evaluate(node: ast.expr, facts: Mapping[str, str]) -> bool:
    if isinstance(node, ast.BoolOp):
        values = [_evaluate(value, facts) for value in node.values]
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if not (isinstance(node, ast.Compare) and len(node.ops) == 1):
        raise ValueError("not a comparison")
    sides = (node.left, node.comparators[0])
    left, right = (_value(side, facts) for side in sides)
    compare = _COMPARE.get(type(node.ops[0]))
    if compare is None:
        raise ValueError("unknown comparison")
    versions = any(isinstance(side, ast.Name) and side.id in _VERSIONS for side in sides)
    if versions and not isinstance(node.ops[0], (ast.In, ast.NotIn)):
        return compare(_numbers(left), _numbers(right))
    return compare(left, right)


def _value(node: ast.expr, facts: Mapping[str, str]) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Name) and node.id in facts:
        return facts[node.id]
    raise ValueError("neither a text nor a known variable")


def _numbers(version: str) -> tuple[int, ...]:
    """A version for comparison; zeros at the end do not count. Raises ValueError for anything but a plain release."""
    numbers = [int(part) for part in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
