# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of the Python code: layers, private names, thin modules. A test lists every place that breaks its rule."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

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

# The layers, from the bottom up; what is not named here or by a pattern below is the engine.
BASE = {
    "_types",
    "_errors",
    "_command",
    "_identity",
    "_files",
    "_journal",
    "_loaded",
    "_login_spec",
    "_masking",
    "_paths",
    "_processes",
    "_progress",
    "_text",
    "_shape",
}
TOOLS = {"_postgres"}
LAYERS = ("base", "tool", "component", "engine", "runner", "module")


def layer(name: str) -> str:
    """The layer of a module, by its dotted name below ``plugins``."""
    parts = name.split(".")
    if parts[0] == "modules":
        return "module"
    if parts[1] == "_tools" or parts[1] in TOOLS:
        return "tool"
    if parts[1] == "_components":
        return "component"
    if parts[1] in BASE:
        return "base"
    return "runner" if parts[1].endswith("_runner") else "engine"


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def python_files(*directories: Path) -> list[Path]:
    return sorted(
        path for top in directories for path in top.rglob("*.py") if path.name != "__init__.py" or path.stat().st_size
    )


def sources() -> dict[str, Path]:
    """All modules and module utilities, by their dotted names below ``plugins``."""
    found = python_files(PLUGINS / "modules", UTILS)
    return {".".join(path.relative_to(PLUGINS).with_suffix("").parts).removesuffix(".__init__"): path for path in found}


def imports(path: Path) -> Iterator[str]:
    """Every name that a file imports, dotted; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


@cache
def internal_imports() -> dict[str, set[str]]:
    """Which of our own modules each of them imports."""
    known = sources()
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for imported in imports(path):
            target = imported.removeprefix(PREFIX)
            if imported.startswith(PREFIX):
                parent = target.rpartition(".")[0]  # of a function or a class
                graph[name].add(parent if parent in known else target)
    return graph


def test_the_code_is_found() -> None:
    assert "module_utils._errors" in sources()
    assert any(graph for graph in internal_imports().values())


def test_imports_point_downwards() -> None:
    upwards = [
        f"{name} ({layer(name)}) imports {target} ({layer(target)})"
        for name, targets in internal_imports().items()
        for target in sorted(targets)
        if LAYERS.index(layer(target)) > LAYERS.index(layer(name))
    ]
    assert upwards == []


def test_a_module_knows_only_its_runner_and_the_base() -> None:
    beyond = [
        f"{name} imports {target}"
        for name, targets in internal_imports().items()
        for target in sorted(targets)
        if layer(name) == "module" and layer(target) not in {"runner", "base"}
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
        if imported.split(".")[0] == "ansible" and layer(name) not in {"module", "runner"}
    ]
    assert knowing == []


def test_imports_are_absolute() -> None:
    """A relative import would be lost in the payload that an undo without Ansible runs from."""
    relative = [f"{name}: {one}" for name, path in sources().items() for one in imports(path) if one.startswith(".")]
    assert relative == []


def test_targets_need_only_the_standard_library_and_psycopg2() -> None:
    allowed = {"ansible", "ansible_collections", "psycopg2", *sys.stdlib_module_names}
    foreign = [
        f"{name} imports {one}"
        for name, path in sources().items()
        for one in imports(path)
        if not one.startswith(".") and one.split(".")[0] not in allowed
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
        if len(documents) != 3 or lines > 60:
            wrong.append(f"{path.name}: {len(documents)} of 3 documents, {lines} of at most 60 lines after them")
        documentation = yaml.safe_load(ast.literal_eval(assigned(path)["DOCUMENTATION"].value))
        if not {"check_mode", "diff_mode"} <= set(documentation.get("attributes", ())):
            wrong.append(f"{path.name}: attributes do not say what check_mode and diff_mode do")
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
    return action.exists() and f"{PREFIX}plugin_utils._reporting.ReportingAction" not in set(imports(action))


def test_a_main_has_no_branches() -> None:
    branches = (ast.If, ast.IfExp, ast.For, ast.While, ast.Try)
    wrong = []
    for path in (path for path in python_files(PLUGINS / "modules") if not acts_alone(PLUGINS / "action" / path.name)):
        mains = [node for node in parse(path).body if isinstance(node, ast.FunctionDef) and node.name == "main"]
        wrong += [path.name] if not mains or any(isinstance(node, branches) for node in ast.walk(mains[0])) else []
    assert wrong == []
