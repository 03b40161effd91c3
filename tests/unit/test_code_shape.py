# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of the Python code: rooms, private names, thin modules. A test lists every place that breaks its rule."""

from __future__ import annotations

import ast
import io
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
UTILS = PLUGINS / "module_utils"
PREFIX = "ansible_collections.lastgood.rollback.plugins."

HEADER = (
    "# Copyright: (c) 2026, the lastgood.rollback authors",
    "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)",
    "# SPDX-License-Identifier: GPL-3.0-or-later",
)

# From the bottom up: a room knows itself and those before it.
HOST_ROOMS = (
    "module_utils._base",
    "module_utils._postgresql",
    "module_utils._services",
    "module_utils._components",
    "module_utils._engine",
    "module_utils._restore_points",
    "module_utils._checks",
    "module_utils._runners",
    "modules",
)
CONTROLLER_ROOMS = (
    "plugin_utils._catalogue",
    "plugin_utils._planning",
    "plugin_utils._report",
    "plugin_utils._messages",
    "plugin_utils._progress",
    "action",
    "filter",
)
#: Inside the room of the components, the same: below all kinds, and above them.
COMPONENTS = "module_utils._components"
BELOW_KINDS = ("plan", "context", "options", "base")
ABOVE_KINDS = ("registry",)


def room(name: str) -> str:
    """The room of a file, by its dotted name below ``plugins``."""
    found = [one for one in (*HOST_ROOMS, *CONTROLLER_ROOMS) if name == one or name.startswith(f"{one}.")]
    assert found, f"{name} lies in no room"
    return found[0]


def storey(name: str) -> tuple[int, int]:
    """How far up a file lies: its room, and among the components its kind."""
    rooms = CONTROLLER_ROOMS if room(name) in CONTROLLER_ROOMS else HOST_ROOMS
    order = (*BELOW_KINDS, *kinds(), *ABOVE_KINDS)
    return rooms.index(room(name)), order.index(name.split(".")[2]) if room(name) == COMPONENTS else 0


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def python_files(*directories: Path) -> list[Path]:
    return sorted(
        path for top in directories for path in top.rglob("*.py") if path.name != "__init__.py" or path.stat().st_size
    )


def sources() -> dict[str, Path]:
    """All our code, by its dotted name below ``plugins``."""
    found = python_files(*(PLUGINS / name for name in ("modules", "module_utils", "plugin_utils", "action", "filter")))
    return {".".join(path.relative_to(PLUGINS).with_suffix("").parts): path for path in found}


def imports(path: Path) -> Iterator[str]:
    """Every name that a file imports, dotted; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = "." * node.level + (f"{node.module}." if node.module else "")
            yield from (package + alias.name for alias in node.names)


def absolute(name: str, imported: str) -> str:
    """What a relative import of a file means, dotted and absolute."""
    level = len(imported) - len(imported.lstrip("."))
    return ".".join([*PREFIX.split(".")[:-1], *name.split(".")[:-level], imported[level:]]) if level else imported


@cache
def kinds() -> tuple[str, ...]:
    """The packages in the room of the components, each after those that it is built on; a circle of them is an error."""
    built_on: dict[str, set[str]] = {
        name.split(".")[2]: set() for name in sources() if name.count(".") > 2 and room(name) == COMPONENTS
    }
    for name, targets in internal_imports().items():
        if room(name) == COMPONENTS and name.split(".")[2] in built_on:
            others = {target.split(".")[2] for target in targets if room(target) == COMPONENTS}
            built_on[name.split(".")[2]] |= others & set(built_on) - {name.split(".")[2]}
    return tuple(TopologicalSorter(built_on).static_order())


@cache
def internal_imports() -> dict[str, set[str]]:
    """Which of our own files each of them imports."""
    known = sources()
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for imported in imports(path):
            target = absolute(name, imported).removeprefix(PREFIX)
            if target != absolute(name, imported):
                parent = target.rpartition(".")[0]  # of a function or a class
                graph[name].add(parent if parent in known else target)
    return graph


def test_the_code_is_found() -> None:
    assert "module_utils._base.errors" in sources()
    assert "module_utils._base.errors" in internal_imports()["module_utils._components.registry"]
    assert "module_utils._components.code.component" in internal_imports()["module_utils._components.registry"]


def test_every_file_lies_in_a_room_and_every_room_is_there() -> None:
    assert {room(name) for name in sources()} == {*HOST_ROOMS, *CONTROLLER_ROOMS}
    assert {path.stem for path in (UTILS / "_components").iterdir() if path.name != "__pycache__"} == {
        *BELOW_KINDS,
        *kinds(),
        *ABOVE_KINDS,
    }


def test_what_is_imported_is_there() -> None:
    missing = [
        f"{name} imports {target}"
        for name, targets in internal_imports().items()
        for target in sorted(targets - sources().keys())
    ]
    assert missing == []


def test_imports_point_downwards() -> None:
    upwards = [
        f"{name} imports {target}"
        for name, targets in internal_imports().items()
        for target in sorted(targets)
        if (room(name) in HOST_ROOMS) == (room(target) in HOST_ROOMS) and storey(target) > storey(name)
    ]
    assert upwards == []


def test_hosts_know_nothing_of_the_controller() -> None:
    knowing = [
        f"{name} imports {target}"
        for name, targets in internal_imports().items()
        for target in sorted(targets)
        if room(name) in HOST_ROOMS and room(target) in CONTROLLER_ROOMS
    ]
    assert knowing == []


def test_a_module_knows_only_what_it_composes_its_runner_and_its_components() -> None:
    beyond = [
        f"{name} imports {target}"
        for name, targets in internal_imports().items()
        for target in sorted(targets)
        if room(name) == "modules"
        and room(target) not in {"module_utils._runners", "module_utils._components"}
        and not target.endswith("options")
    ]
    assert beyond == []


def test_no_imports_in_a_circle() -> None:
    graph = internal_imports()
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a circle of imports: {' -> '.join([*trail, name])}"
        if name not in done:
            for target in graph.get(name, ()):
                visit(target, (*trail, name))
            done.add(name)

    for start in graph:
        visit(start, ())


def test_only_modules_and_runners_know_ansible() -> None:
    knowing = [
        f"{name} imports {imported}"
        for name, path in sources().items()
        for imported in imports(path)
        if imported.split(".")[0] == "ansible"
        and room(name) in HOST_ROOMS
        and room(name) not in {"modules", "module_utils._runners"}
    ]
    assert knowing == []


def test_imports_are_relative_inside_a_room_and_absolute_across_rooms() -> None:
    wrong = [
        f"{name}: {imported}"
        for name, path in sources().items()
        for imported in imports(path)
        if (target := absolute(name, imported).removeprefix(PREFIX)) != absolute(name, imported)
        and imported.startswith(".") != (room(target) == room(name) and name.count(".") > 1)
    ]
    assert wrong == []


def test_targets_need_only_the_standard_library_and_psycopg2() -> None:
    allowed = {"ansible", "ansible_collections", "psycopg2", *sys.stdlib_module_names}
    foreign = [
        f"{name} imports {one}"
        for name, path in sources().items()
        for one in imports(path)
        if room(name) in HOST_ROOMS and not one.startswith(".") and one.split(".")[0] not in allowed
    ]
    assert foreign == []


def test_module_utilities_are_private_and_say_so() -> None:
    wrong = []
    for path in python_files(UTILS):
        if not path.relative_to(UTILS).parts[0].startswith("_"):
            wrong.append(f"{path.relative_to(ROOT)}: neither its name nor its package's starts with _")
        if not (ast.get_docstring(parse(path)) or "").startswith("(private) "):
            wrong.append(f"{path.relative_to(ROOT)}: the docstring does not start with (private)")
    assert wrong == []


def test_public_names_have_docstrings() -> None:
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in python_files(UTILS)
        for node in parse(path).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_annotations_are_not_evaluated() -> None:
    """Python 3.9 could not evaluate ``str | None``."""
    without = [
        str(path.relative_to(ROOT))
        for path in python_files(PLUGINS)
        if "__future__.annotations" not in set(imports(path))
    ]
    assert without == []


def test_files_of_code_carry_the_licence() -> None:
    programs = [ROOT / "Makefile", *ROOT.glob("requirements/*.sh"), *ROOT.glob("tests/**/*.sh")]
    python = python_files(PLUGINS, ROOT / "demo", ROOT / "tests")
    without = [
        str(path.relative_to(ROOT))
        for path in [*programs, *python]
        if not set(HEADER) <= set(path.read_text(encoding="utf-8").splitlines()[:8])
    ]
    assert without == []


def assigned(path: Path) -> dict[str, ast.Assign]:
    """What a file assigns at its top level, by name."""
    assignments = [node for node in parse(path).body if isinstance(node, ast.Assign)]
    return {target.id: node for node in assignments for target in node.targets if isinstance(target, ast.Name)}


def test_modules_are_mostly_documentation() -> None:
    wrong = []
    for path in python_files(PLUGINS / "modules"):
        documents = [node for name, node in assigned(path).items() if name in {"DOCUMENTATION", "EXAMPLES", "RETURN"}]
        lines = len(path.read_text(encoding="utf-8").splitlines()) - max(node.end_lineno or 0 for node in documents)
        if len(documents) != 3 or lines > 64:
            wrong.append(f"{path.name}: {len(documents)} of 3 documents, {lines} of at most 64 lines after them")
        documentation = yaml.safe_load(ast.literal_eval(assigned(path)["DOCUMENTATION"].value))
        if "lastgood.rollback.attributes" not in documentation["extends_documentation_fragment"]:
            wrong.append(f"{path.name}: its attributes do not say what check_mode and diff_mode do")
    assert wrong == []


def test_what_may_take_long_is_watched() -> None:
    """Every module that works on a host, but for those that read small records, or write two lines."""
    modules = {
        path.stem for path in python_files(PLUGINS / "modules") if not acts_alone(PLUGINS / "action" / path.name)
    }
    watched = {path.stem for path in python_files(PLUGINS / "action") if not acts_alone(path)}
    assert modules - watched == {"release_hold", "transaction_info"}
    assert [path.name for path in (PLUGINS / "action").iterdir() if path.is_symlink()] == []
    assert "plugin_routing" not in (PLUGINS.parent / "meta" / "runtime.yml").read_text(encoding="utf-8")


def acts_alone(action: Path) -> bool:
    """Whether an action plugin does all the work, so that the module of its name is only its documentation."""
    return action.exists() and f"{PREFIX}plugin_utils._progress.reporting.ReportingAction" not in set(imports(action))


def test_a_main_has_no_branches() -> None:
    branches = (ast.If, ast.IfExp, ast.For, ast.While, ast.Try)
    wrong = []
    for path in (path for path in python_files(PLUGINS / "modules") if not acts_alone(PLUGINS / "action" / path.name)):
        mains = [node for node in parse(path).body if isinstance(node, ast.FunctionDef) and node.name == "main"]
        wrong += [path.name] if not mains or any(isinstance(node, branches) for node in ast.walk(mains[0])) else []
    assert wrong == []


#: Module → KiB that our own code may take in what is sent to a host for it, packed as Ansible packs it. Every call of a module
#: sends and compiles all of that.
PAYLOAD_KIB = {
    "health_info": 59,
    "restore_point_info": 66,
    "service_restart": 86,
    "file_restore": 105,
    "git_reset": 146,
    "venv_restore": 122,
}


@pytest.mark.parametrize("module", PAYLOAD_KIB)
def test_a_module_carries_only_what_it_is_about(module: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in reached_from(f"modules.{module}"):
            archive.write(sources()[name], f"{PREFIX.replace('.', '/')}{name.replace('.', '/')}.py")
    assert len(packed.getvalue()) <= PAYLOAD_KIB[module] * 1024


def reached_from(name: str) -> set[str]:
    """A file and all that it imports, directly and not."""
    reached, left = set(), {name}
    while left:
        one = left.pop()
        reached.add(one)
        left |= internal_imports()[one] - reached
    return reached
