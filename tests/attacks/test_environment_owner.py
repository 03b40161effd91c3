# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The owner of an application and its Python environment, which root captures and rolls back: wants root to run its code."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accounts import Account
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._checks.health import check_projects
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.verify import verify_tree
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.files.component import Files
from ansible_collections.lastgood.rollback.plugins.module_utils._components.migrations.plan import planned_command
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages.component import Packages
from ansible_collections.lastgood.rollback.plugins.module_utils._services import control
from ansible_collections.lastgood.rollback.plugins.module_utils._services.readiness import parse_ready


class Trap:
    """Code of the attacker that notes whom it runs as."""

    def __init__(self, arena: Path, attacker: Account) -> None:
        self.attacker = attacker
        self.noted = arena / "noted"
        self.noted.write_text("")
        self.noted.chmod(0o666)
        self.shell = f"#!/bin/sh\nid -u >> {self.noted}\n"
        self.python = f"import os; open({str(self.noted)!r}, 'a').write(str(os.getuid()) + '\\n')\n"

    @property
    def victims(self) -> set[str]:
        """Whom the code ran as, the attacker itself aside."""
        return set(self.noted.read_text().split()) - {str(self.attacker.uid)}

    def program(self, path: Path) -> Path:
        return self.attacker.write(path, self.shell, 0o755)


@pytest.fixture
def trap(arena: Path, attacker: Account) -> Trap:
    return Trap(arena, attacker)


def environment(path: Path, owner: Account | None = None) -> Path:
    """An environment of root's, or of an account."""
    words = ["/usr/bin/python3", "-m", "venv", "--without-pip", path]
    if owner:
        owner.run(*words)
    else:
        subprocess.run(list(map(str, words)), check=True)
    return path


def site_packages(path: Path) -> Path:
    return next(path.glob("lib/python*/site-packages"))


def by_a_link(arena: Path, trap: Trap) -> Path:
    """To a directory of root's that everybody can write to."""
    (arena / "open/bin").mkdir(parents=True)
    for path in (arena / "open", arena / "open/bin"):
        path.chmod(0o777)
    trap.program(arena / "open/bin/python")
    trap.attacker.run("ln", "-s", arena / "open", trap.attacker.home / "env")
    return trap.attacker.home / "env"


def by_the_directory_around(_arena: Path, trap: Trap) -> Path:
    """Root made the environment there; its owner moves a part of it away, and puts an own one into its place."""
    path = environment(trap.attacker.home / "env")
    trap.attacker.run("mkdir", trap.attacker.home / "mine")
    (trap.attacker.home / "mine/bin").mkdir()
    os.chown(trap.attacker.home / "mine/bin", trap.attacker.uid, -1)
    trap.program(trap.attacker.home / "mine/bin/python")
    os.chown(trap.attacker.home / "mine", 0, 0)  # any directory of root's that has a bin of theirs in it
    trap.attacker.run("mv", path, trap.attacker.home / "old")
    trap.attacker.run("mv", trap.attacker.home / "mine", path)
    return path


def by_a_module(arena: Path, trap: Trap) -> Path:
    """Of an environment of root's whose packages others may install."""
    path = environment(arena / "env")
    os.chown(site_packages(path), -1, trap.attacker.gid)
    site_packages(path).chmod(0o775)
    trap.attacker.write(site_packages(path) / "attack.pth", trap.python)
    return path


def by_a_file(arena: Path, trap: Trap) -> Path:
    """Of an environment of root's: one module that others may change."""
    path = environment(arena / "env")
    module = site_packages(path) / "attacked.py"
    module.write_text("")
    module.chmod(0o666)
    trap.attacker.run("sh", "-c", 'cat > "$1"', "sh", module, input=trap.python)
    return path


def by_a_directory_that_is_added(arena: Path, trap: Trap) -> Path:
    """An editable installation in an environment of root's."""
    path = environment(arena / "env")
    trap.attacker.write(trap.attacker.home / "src/attacked.py", trap.python)
    (site_packages(path) / "editable.pth").write_text(f"{trap.attacker.home}/src\n")
    return path


def by_a_link_among_links(arena: Path, trap: Trap) -> Path:
    """Of root's, in an environment of root's that has other links, to a module of theirs."""
    path = environment(arena / "env")
    trap.attacker.write(trap.attacker.home / "src/__init__.py", trap.python)
    (site_packages(path) / "attacked").symlink_to(trap.attacker.home / "src")
    return path


def by_a_directory_on_the_way(arena: Path, trap: Trap) -> Path:
    """Of an environment of root's: it has no code in it, but one below."""
    path = environment(arena / "env")
    (site_packages(path) / "attacked/inner").mkdir(parents=True)
    (site_packages(path) / "attacked/inner/module.py").write_text("")
    (site_packages(path) / "attacked").chmod(0o777)
    trap.attacker.write(site_packages(path) / "attacked/__init__.py", trap.python)
    os.chown(
        site_packages(path) / "attacked/__init__.py", 0, 0
    )  # the code there is root's by now; anybody can replace it
    return path


def by_the_base(arena: Path, trap: Trap) -> Path:
    """An environment of root's that was made with an interpreter of theirs."""
    path = environment(arena / "env")
    trap.program(trap.attacker.home / "python/bin/python3")
    (path / "bin/python3").unlink()
    (path / "bin/python3").symlink_to(trap.attacker.home / "python/bin/python3")
    return path


WAYS = [
    by_a_link,
    by_the_directory_around,
    by_a_module,
    by_a_file,
    by_a_directory_that_is_added,
    by_the_base,
    by_a_link_among_links,
    by_a_directory_on_the_way,
]


@pytest.mark.parametrize("way", WAYS)
def test_code_of_the_owner_does_not_run_as_root(
    arena: Path, trap: Trap, make_context, way: Callable[..., Path]
) -> None:
    path = way(arena, trap)
    packages = Packages(make_context())
    options = {"path": str(path), "imports": ["attacked"], "installer": "auto"}
    (arena / "point").mkdir(mode=0o700)
    (arena / "locked.txt").write_text("")
    tried: list[Callable[[], Any]] = [
        lambda: packages.capture(options, arena / "point"),
        lambda: packages.fingerprint(options),
        lambda: packages.plan(
            {**options, "python": "/usr/bin/python3", "requirements": str(arena / "locked.txt")}, None
        ),
    ]
    said = []
    for attempt in tried:
        try:
            attempt()
        except LastGoodError as error:
            said.append(error.message)
    assert trap.victims == set()
    assert ["is refused" in words for words in said] == [True] * 3


def test_a_link_to_what_belongs_to_a_third_is_nobodys(arena: Path, trap: Trap, victim: Account, make_context) -> None:
    path = environment(victim.home / "env", victim)
    trap.attacker.run("ln", "-s", path, trap.attacker.home / "env")
    with pytest.raises(Refused, match=f"belongs to another .*{trap.attacker.name}"):
        Packages(make_context()).fingerprint({"path": str(trap.attacker.home / "env")})


def test_what_an_account_owns_runs_as_that_account_also_by_a_link_of_root(
    arena: Path, trap: Trap, make_context
) -> None:
    path = environment(trap.attacker.home / "env", trap.attacker)
    trap.attacker.write(site_packages(path) / "noted.pth", trap.python)
    (arena / "live").symlink_to(path)
    assert Packages(make_context()).fingerprint({"path": str(arena / "live")})["python"]
    assert set(trap.noted.read_text().split()) == {str(trap.attacker.uid)}


def checked(path: Path, python: Path | None = None, command: tuple[str, ...] = ("python", "manage.py")) -> str:
    project = {"name": "core", "path": str(path), "python": str(python) if python else None, "http": [], "imports": []}
    (found,) = check_projects([{**project, "commands": [list(command)]}], CommandRunner(), 60.0)
    assert found["ok"] is False
    return str(found["detail"])


def test_checks_of_a_checkout_of_root_do_not_run_what_the_application_owns(arena: Path, trap: Trap) -> None:
    (arena / "checkout").mkdir()
    (arena / "checkout/manage.py").write_text("import conf.settings\n")
    python = trap.program(trap.attacker.home / "env/bin/python")
    assert "is refused" in checked(arena / "checkout", python)

    (arena / "checkout/conf").mkdir()
    os.chown(arena / "checkout/conf", trap.attacker.uid, -1)
    trap.attacker.write(arena / "checkout/conf/settings.py", trap.python)
    assert "is refused" in checked(arena / "checkout", None, ("python3", "manage.py"))

    trap.program(trap.attacker.home / "check.sh")
    assert "is refused" in checked(arena / "checkout", None, ("sh", str(trap.attacker.home / "check.sh")))
    assert trap.victims == set()


def test_checks_do_not_run_as_root_where_others_can_write(arena: Path, trap: Trap) -> None:
    (arena / "open").mkdir()
    (arena / "open").chmod(0o777)
    trap.attacker.write(arena / "open/manage.py", trap.python)
    trap.attacker.run("ln", "-s", arena / "open", trap.attacker.home / "checkout")
    for path in (arena / "open", trap.attacker.home / "checkout"):
        assert "is refused" in checked(path, None, ("python3", "manage.py"))
    with pytest.raises(Refused, match="is refused"):
        verify_tree(arena / "open", CommandRunner(), {"commands": [["python3", "manage.py"]]}, "python3")
    assert trap.victims == set()


def test_commands_of_services_do_not_run_as_root_what_others_can_write(arena: Path, trap: Trap) -> None:
    start = trap.program(trap.attacker.home / "start")
    assert "is refused" in parse_ready({"command": [str(start)]}, "it").missing(CommandRunner())
    for command, chdir in ([[str(start)], "/"], [["./start"], str(trap.attacker.home)], [["sh", str(start)], "/"]):
        spec = {"name": "it", "manager": "process", "pid_file": str(arena / "pid"), "command": command, "chdir": chdir}
        with pytest.raises(LastGoodError, match="is refused"):
            control.start(control.parse([spec]), CommandRunner())
    assert trap.victims == set()


def test_a_downgrade_command_does_not_run_as_root_what_others_can_write(arena: Path, trap: Trap) -> None:
    checkout = arena / "open"
    checkout.mkdir()
    checkout.chmod(0o777)
    trap.attacker.write(checkout / "downgrade.py", trap.python)
    trap.attacker.run("ln", "-s", checkout, trap.attacker.home / "checkout")
    for chdir, user in ((checkout, None), (checkout, "root"), (trap.attacker.home / "checkout", None)):
        options = {"name": "blog", "migration_chdir": str(chdir), "migration_user": user}
        with pytest.raises(Refused, match="is refused"):
            planned_command({**options, "migration_command": ["python3", "downgrade.py"]}, ["1"], {}, "the point")
    assert trap.victims == set()


def test_a_file_is_not_validated_as_root_where_others_can_exchange_it(arena: Path, trap: Trap, make_context) -> None:
    (trap.attacker.home / "site.conf").write_text("root's\n")
    backup = arena / "backup"
    backup.write_text("new\n")
    files = Files(make_context())
    item = {"dest": str(trap.attacker.home / "site.conf"), "src": str(backup)}
    options = {"files": [item], "allow_unverified": True, "validate": ["sh", "%s"]}
    with pytest.raises(Refused, match="is refused"):
        files.plan(options, None)


def test_what_takes_the_name_of_an_older_environment_is_not_removed(arena: Path, trap: Trap, make_context) -> None:
    """It is root's, in a directory of the owner, who may rename it there and not remove it."""
    (arena / "app").mkdir()
    path = environment(arena / "app/env")
    subprocess.run(["chown", "-R", str(trap.attacker.uid), path], check=True)
    packages = Packages(make_context())
    (arena / "point").mkdir(mode=0o700)
    options = {"path": str(path), "installer": "auto"}
    point = PointEntry("good", arena / "point", packages.capture(options, arena / "point"))
    info = site_packages(path) / "left-1.0.dist-info"
    trap.attacker.write(info / "METADATA", "Metadata-Version: 2.1\nName: left\nVersion: 1.0\n")
    plan = packages.plan(options, point)
    packages.prepare(plan)
    packages.switch(plan)
    base = arena / "app/env.lastgood"
    (base / "private").mkdir(mode=0o700)
    (base / "private/secret").write_text("root's\n")
    (base / "private/pyvenv.cfg").write_text("")  # it looks like one that was put aside
    trap.attacker.write(base / "cafe0123/notes", "no environment\n")
    for name in ("deadbeef", "previous-deadbeef"):
        trap.attacker.run("mv", base / "private", base / name)
        with contextlib.suppress(LastGoodError, OSError):
            packages.finish(plan)
        assert (base / name / "secret").read_text() == "root's\n"
        trap.attacker.run("mv", base / name, base / "private")
    assert (base / "cafe0123/notes").read_text() == "no environment\n"
