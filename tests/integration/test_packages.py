# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The component ``packages`` against real environments, made by pip and uv from PyPI, and put back without a network."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base import command as _command
from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import user_by_name, user_by_uid
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    ChecksumMismatch,
    Refused,
    StateConflict,
    VerificationFailed,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import sha256_file
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context, PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages import install, link, wheels
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages.component import Packages
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages.environment import (
    inspect_environment,
    inspect_interpreter,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from support.environments import BAD, BASE, GOOD, WORSE, Site, change, frozen, make_environment, tree, version_of
from support.namespaces import run_module


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], bool]]:
    """Every way to a package index leads to a socket of ours, that never answers; tells whether anybody asked it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, address)
        for name in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"):
            monkeypatch.setenv(name, f"{address}/simple")
        monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "1")
        monkeypatch.setenv("PIP_RETRIES", "0")
        # The tools get a clean environment; here they get all of ours, so that their options have to keep them off it.
        monkeypatch.setattr(_command, "KEPT_ENVIRONMENT", (*_command.KEPT_ENVIRONMENT, *os.environ))
        server.setblocking(False)

        def asked() -> bool:
            try:
                server.accept()[0].close()
            except BlockingIOError:
                return False
            return True

        yield asked


@pytest.fixture
def site(tmp_path: Path, make_context: Callable[..., Context]) -> Site:
    return Site(tmp_path, make_context())


@pytest.fixture
def broken(site: Site) -> tuple[Site, PointEntry]:
    """An environment that was good, was captured, and then got a wrong version, a new package and lost one."""
    make_environment(site.path, *GOOD)
    point = site.capture(imports=["six", "click"])
    change(site.path, "uninstall", "idna")
    change(site.path, "install", "--no-deps", *BAD)
    return site, point


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_dependency_rollback(broken: tuple[Site, PointEntry], index: Callable[[], bool], installer: str) -> None:
    site, point = broken
    inode = site.path.stat().st_ino

    plan = site.plan(point, installer=installer)
    assert plan.changed
    assert site.state(plan) is State.UNTOUCHED
    result = site.component.result(plan, {})
    assert result["added"] == ["idna==3.7"]
    assert result["removed"] == ["iniconfig==2.0.0"]
    assert result["changed_packages"] == [{"name": "six", "before": "1.17.0", "after": "1.16.0"}]
    assert plan.discards == {"packages": ["iniconfig==2.0.0", "six==1.17.0"]}
    assert not site.base.exists()

    evidence = site.component.prepare(plan)
    assert evidence["installer"].startswith(installer)
    assert site.state(plan) is State.PREPARED
    assert frozen(site.path) == set(BAD)

    site.component.switch(plan)
    assert site.state(plan) is State.SWITCHED
    assert site.path.is_symlink()
    assert frozen(site.path) == set(GOOD)
    assert version_of(site.path, "six") == "1.16.0"
    assert not list(site.base.glob("staging-*"))
    assert not index()

    site.component.finish(plan)
    previous = Path(site.component.kept(plan)["environment"])
    assert previous.stat().st_ino == inode
    again = site.plan(point, installer=installer)
    assert not again.changed
    assert site.component.result(again, {})["added"] == []


def test_undo_brings_the_same_directory_back(broken: tuple[Site, PointEntry]) -> None:
    site, point = broken
    before, inode, beside = tree(site.path), site.path.stat().st_ino, sorted(os.listdir(site.path.parent))
    plan = site.plan(point)
    site.component.prepare(plan)
    site.component.switch(plan)
    site.component.undo(plan)
    assert site.state(plan) is State.UNTOUCHED
    assert not site.path.is_symlink()
    assert site.path.stat().st_ino == inode
    assert tree(site.path) == before
    assert sorted(os.listdir(site.path.parent)) == beside


def test_a_link_is_switched_and_undone(site: Site) -> None:
    make_environment(site.root / "v1", *GOOD)
    site.path.symlink_to("../v1")
    point = site.capture()
    make_environment(site.root / "v2", *BAD)
    site.path.unlink()
    site.path.symlink_to("../v2")
    plan = site.plan(point)
    site.component.prepare(plan)
    site.component.switch(plan)
    assert version_of(site.path, "six") == "1.16.0"
    assert Path(site.component.kept(plan)["environment"]).resolve() == (site.root / "v2").resolve()
    site.component.undo(plan)
    assert str(site.path.readlink()) == "../v2"
    assert os.listdir(site.path.parent) == [".venv"]
    assert version_of(site.path, "six") == "1.17.0"


@pytest.mark.parametrize("adopted", [True, False])
def test_the_switch_is_one_rename(site: Site, monkeypatch: pytest.MonkeyPatch, adopted: bool) -> None:
    """A link is replaced by one; a plain directory that is adopted and the new link change places in one call."""
    make_environment(site.path, "six==1.16.0")
    point = site.capture()
    if not adopted:
        site.path.rename(site.path.with_name("v1"))
        site.path.symlink_to("v1")
    change(site.path, "install", "--no-deps", "six==1.17.0")
    plan = site.plan(point)
    site.component.prepare(plan)
    exchanges: list[bool] = []
    renames: list[str] = []
    exchange, replace = link.exchange, Path.replace
    monkeypatch.setattr(link, "exchange", lambda one, other: exchanges.append(True) or exchange(one, other))
    monkeypatch.setattr(Path, "replace", lambda path, to: renames.append(str(to)) or replace(path, to))
    monkeypatch.setattr(Path, "rename", lambda path, to: pytest.fail(f"{path} is renamed to {to}"))
    site.component.switch(plan)
    monkeypatch.undo()
    assert (len(exchanges), renames) == ((1, []) if adopted else (0, [str(site.path)]))
    assert version_of(site.path, "six") == "1.16.0"


def test_a_checkout_around_it_stays_clean(broken: tuple[Site, PointEntry]) -> None:
    site, point = broken
    git = ["git", "-C", str(site.path.parent), "-c", "safe.directory=*"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    (site.path.parent / ".gitignore").write_text(".venv\n")
    subprocess.run([*git, "add", ".gitignore"], check=True)
    plan = site.plan(point)
    site.component.prepare(plan)
    site.component.switch(plan)
    status = subprocess.run([*git, "status", "--porcelain"], check=True, capture_output=True, text=True).stdout
    assert status.splitlines() == ["A  .gitignore"]


def test_a_tampered_wheel_is_refused_before_any_tool_sees_it(broken: tuple[Site, PointEntry]) -> None:
    site, point = broken
    wheel = next(point.directory.glob("wheels/six-*.whl"))
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    wheel.write_bytes(data)
    with pytest.raises(ChecksumMismatch, match="six"):
        site.plan(point)


def test_a_wheel_tampered_with_after_the_plan_is_refused(broken: tuple[Site, PointEntry]) -> None:
    site, point = broken
    plan = site.plan(point)
    wheel = next(point.directory.glob("wheels/six-*.whl"))
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(ChecksumMismatch, match="six"):
        site.component.prepare(plan)
    site.component.undo(plan)
    assert frozen(site.path) == set(BAD)
    assert not site.base.exists()


def test_a_failing_import_is_found_in_prepare_and_changes_nothing(broken: tuple[Site, PointEntry]) -> None:
    site, point = broken
    before = tree(site.path)
    plan = site.plan(point, imports=["six", "iniconfig"])
    for _again in range(2):  # what was built by then does not pass for finished
        with pytest.raises(VerificationFailed, match="iniconfig"):
            site.component.prepare(plan)
    site.component.undo(plan)
    assert tree(site.path) == before
    assert not site.base.exists()


def test_an_import_that_prints_and_leaves_threads_behind_is_fine(site: Site) -> None:
    make_environment(site.path, *GOOD)
    library = next(site.path.glob("lib/python*/site-packages"))
    noise = "import threading, time, sys\nprint('noise' * 100000)\nsys.stderr.write('x' * 100000)\n"
    (library / "loud.py").write_text(noise + "threading.Thread(target=time.sleep, args=(600,)).start()\n")
    point = site.capture(imports=["loud", "six"])
    assert point.facts["unowned"] == ["loud.py"]
    assert not site.plan(point, imports=["loud"]).changed


def test_code_that_prints_at_start_does_not_spoil_the_look(site: Site) -> None:
    make_environment(site.path, *GOOD)
    library = next(site.path.glob("lib/python*/site-packages"))
    (library / "loud.pth").write_text("import sys; print('hello from a .pth file')\n")
    assert site.capture().facts["packages"] == dict(word.split("==") for word in GOOD)


def test_scripts_and_local_changes_are_captured(site: Site) -> None:
    """A plain script with the old shebang, a data file, and a changed module come back byte for byte."""
    make_environment(site.path, *GOOD)
    project = site.root / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
        "[project]\nname = 'our.app'\nversion = '1.0'\n[tool.setuptools]\npy-modules = ['our_app']\n"
        "script-files = ['our-tool', 'our-shell']\n[tool.setuptools.data-files]\n'share/our' = ['page.html']\n"
    )
    (project / "our_app.py").write_text("")
    (project / "our-tool").write_text("#!/usr/bin/env python3\nimport our_app, sys\nprint(sys.prefix)\n")
    (project / "our-shell").write_text("#!/bin/sh\necho shell\n")
    (project / "page.html").write_text("<p>")
    change(site.path, "install", str(project))
    changed = next(site.path.glob("lib/python*/site-packages/six.py"))
    text = changed.read_text() + "# changed by hand\n"
    changed.unlink()  # uv may have linked it to its cache
    changed.write_text(text)
    digest = sha256_file(changed)
    point = site.capture()
    assert point.facts["modified"] == {"six": ["six.py"]}
    shutil.rmtree(site.path)
    plan = site.plan(point)
    assert plan.before["packages"] == {}
    assert any("changed by hand" in warning for warning in plan.warnings)
    site.component.prepare(plan)
    site.component.switch(plan)
    tool = subprocess.run([site.path / "bin" / "our-tool"], check=True, capture_output=True, text=True)
    assert Path(tool.stdout.strip()).resolve() == site.path.resolve()
    shell = subprocess.run([site.path / "bin" / "our-shell"], check=True, capture_output=True, text=True)
    assert shell.stdout == "shell\n"
    assert (site.path / "share" / "our" / "page.html").read_text() == "<p>"
    assert sha256_file(next(site.path.glob("lib/python*/site-packages/six.py"))) == digest
    site.component.undo(plan)
    assert not os.path.lexists(site.path)


def test_captures_of_the_same_environment_are_the_same_bytes(site: Site) -> None:
    make_environment(site.path, *GOOD)
    first = {name: wheel["sha256"] for name, wheel in site.capture().facts["wheels"].items()}
    shutil.rmtree(site.root / "point")
    assert {name: wheel["sha256"] for name, wheel in site.capture().facts["wheels"].items()} == first


def test_a_broken_environment_is_a_case_for_a_rollback(broken: tuple[Site, PointEntry]) -> None:
    site, point = broken
    (site.path / "bin" / "python").unlink()
    plan = site.plan(point)
    assert plan.changed
    assert plan.before["packages"] == {}
    assert any("broken" in warning for warning in plan.warnings)
    site.component.prepare(plan)
    site.component.switch(plan)
    assert frozen(site.path) == set(GOOD)
    site.component.undo(plan)
    assert not os.path.lexists(site.path / "bin" / "python")


def test_an_undo_after_another_deployment_is_refused(broken: tuple[Site, PointEntry]) -> None:
    site, point = broken
    plan = site.plan(point)
    site.component.prepare(plan)
    site.component.switch(plan)
    site.path.unlink()
    site.path.symlink_to("../elsewhere")
    assert site.state(plan) is State.FOREIGN
    with pytest.raises(StateConflict, match="elsewhere"):
        site.component.undo(plan)
    assert str(site.path.readlink()) == "../elsewhere"


def test_a_new_directory_at_the_place_is_foreign(broken: tuple[Site, PointEntry]) -> None:
    """Also where the file system gives it the number of the old one: removed and made again by a deployment."""
    site, point = broken
    plan = site.plan(point)
    shutil.rmtree(site.path)
    make_environment(site.path)
    assert site.state(plan) is State.FOREIGN


def test_what_is_no_environment_is_never_moved(site: Site) -> None:
    site.path.mkdir()
    (site.path / "precious").write_text("data")
    with pytest.raises(Refused, match="not a Python environment"):
        site.plan(None, requirements="/dev/null")


def test_an_interpreter_that_is_gone_or_other_is_refused(broken: tuple[Site, PointEntry]) -> None:
    site, point = broken
    facts = {**point.facts, "python": {**point.facts["python"], "executable": "/nowhere/python3"}}
    with pytest.raises(Refused, match="/nowhere/python3"):
        site.plan(PointEntry("good", point.directory, facts))
    facts = {**point.facts, "python": {**point.facts["python"], "abi": "cpython-36-other"}}
    with pytest.raises(Refused, match="cpython-36-other"):
        site.plan(PointEntry("good", point.directory, facts))


def test_a_full_disk_is_refused_in_plan(broken: tuple[Site, PointEntry]) -> None:
    site, point = broken
    wheels = {name: {**wheel, "unpacked_bytes": 10**15} for name, wheel in point.facts["wheels"].items()}
    with pytest.raises(Refused, match="MiB"):
        site.plan(PointEntry("good", point.directory, {**point.facts, "wheels": wheels}))


def test_a_disk_that_fills_while_the_environment_is_built_changes_nothing(tmp_path: Path) -> None:
    told = json.loads(run_module("full_disk", "packages", tmp_path, kinds=("mount",)))
    for installer in ("uv", "pip"):
        assert "No space left on device" in told["said"][installer]
        assert str(tmp_path / "disk" / "app" / ".venv") in told["said"][installer]
    assert told["as_before"]


def test_a_requirements_file_with_a_wheelhouse(site: Site, tmp_path: Path) -> None:
    make_environment(site.path, *BAD)
    house = tmp_path / "house"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(house)]
    for word in (*GOOD, WORSE):
        subprocess.run([*command, word], check=True, capture_output=True)
    digests = {path.name.split("-")[0]: sha256_file(path) for path in house.iterdir() if "1.15" not in path.name}
    lock = tmp_path / "requirements.txt"
    lock.write_text(
        f"# ours\n--index-url https://example.invalid/simple\nSix == 1.16.0 \\\n    --hash=sha256:{digests['six']}\n"
        f"click==8.1.7 ; python_version >= '3.8' --hash=sha256:{digests['click']} --hash=sha256:{'0' * 64}\n"
        f"idna==3.7 --hash=sha256:{digests['idna']}\ncolorama==0.4.6 ; sys_platform == 'win32' --hash=sha256:{'1' * 64}\n"
    )
    plan = site.plan(None, requirements=str(lock), wheelhouse=str(house))
    assert {Path(wheel["source"]).name.split("-")[1] for wheel in plan.facts["wheels"] if wheel["name"] == "six"} == {
        "1.16.0"
    }
    site.component.prepare(plan)
    site.component.switch(plan)
    assert frozen(site.path) == set(GOOD)

    next(house.glob("idna*")).write_bytes(b"not what it was")
    with pytest.raises(Refused, match=r"idna==3\.7"):
        site.plan(None, requirements=str(lock), wheelhouse=str(house))


def test_requirements_from_the_index_are_installed_by_their_hashes(site: Site, tmp_path: Path) -> None:
    make_environment(site.path, *BAD)
    lock = tmp_path / "requirements.txt"
    lock.write_text("six==1.16.0 --hash=sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254\n")
    plan = site.plan(None, requirements=str(lock), imports=["six"])
    assert any("index" in warning for warning in plan.warnings)
    site.component.prepare(plan)
    site.component.switch(plan)
    assert frozen(site.path) == {"six==1.16.0"}


def test_packages_of_the_system_do_not_count(site: Site) -> None:
    """The base interpreter's own pip, at the very version that is wanted, does not save an installation."""
    version = inspect_interpreter(CommandRunner(), Path(BASE)).pip
    assert version
    subprocess.run([BASE, "-m", "venv", "--without-pip", "--system-site-packages", str(site.path)], check=True)
    change(site.path, "install", "--no-deps", "--reinstall", "six==1.16.0", f"pip=={version}")
    point = site.capture()
    assert point.facts["packages"] == {"six": "1.16.0", "pip": version}
    change(site.path, "install", "--no-deps", "six==1.17.0")
    for installer in ("uv", "pip"):
        plan = site.plan(point, installer=installer)
        site.component.prepare(plan)
        library = next((site.base / plan.facts["id"]).glob("lib/python*/site-packages"))
        assert (library / "six.py").is_file()
        assert (library / "pip" / "__main__.py").is_file()
        site.component.undo(plan)


def test_only_the_newest_previous_environment_is_kept(
    broken: tuple[Site, PointEntry], make_context: Callable[..., Context]
) -> None:
    site, point = broken
    replaced = [set(BAD), {WORSE}, {"click==8.0.0"}]
    for number, installed in enumerate(replaced):
        if number:
            change(site.path, "uninstall", *(word.partition("==")[0] for word in GOOD))
            change(site.path, "install", "--no-deps", *installed)
        component = Packages(make_context(f"transaction-{number}"))
        plan = component.plan({"path": str(site.path)}, point)
        component.prepare(plan)
        component.switch(plan)
        component.finish(plan)
        kept = Path(component.kept(plan)["environment"])
        assert frozen(kept) == installed
        assert frozen(site.path) == set(GOOD)
        assert {entry.name for entry in site.base.iterdir()} == {".gitignore", plan.facts["id"], kept.name}


@pytest.mark.parametrize("parent", ["owner", "root"])
def test_as_root_everything_belongs_to_the_owner(site: Site, parent: str, other_account: int) -> None:
    """The point lies where only root may look; the tools run as the owner all the same. Without root: as ourselves."""
    owner = user_by_uid(other_account)
    python = next(path for path in ("/usr/bin/python3", BASE) if os.access(path, os.X_OK))
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        home = Path(directory)
        app = home / "app"
        app.mkdir()
        home.chmod(0o755)
        path = app / "env"
        subprocess.run([python, "-m", "venv", "--without-pip", str(path)], check=True, capture_output=True)
        change(path, "install", "--no-deps", "six==1.16.0", "--link-mode=copy")
        for entry in (path, *path.rglob("*"), *([app] if parent == "owner" else [])):
            os.chown(entry, owner.uid, owner.gid, follow_symlinks=False)
        into = site.root / "point"
        into.mkdir(mode=0o700)
        point = PointEntry("good", into, site.component.capture({"path": str(path)}, into))
        shutil.rmtree(next(path.glob("lib/python*/site-packages/six-*.dist-info")))
        before = tree(path)
        plan = site.component.plan({"path": str(path)}, point)
        site.component.prepare(plan)
        site.component.switch(plan)
        if parent == "owner":
            assert path.lstat().st_uid == owner.uid
        assert {entry.lstat().st_uid for entry in (path.resolve(), *path.resolve().rglob("*"))} == {owner.uid}
        assert version_of(path, "six") == "1.16.0"
        site.component.undo(plan)
        assert tree(path) == before
        assert sorted(os.listdir(app)) == ["env"]


def test_a_link_of_the_owner_does_not_lead_root_astray(site: Site) -> None:
    """A module that is really a link to a file only root may read is not copied into a wheel that the owner gets."""
    make_environment(site.path, "six==1.16.0")
    secret = site.root / "secret"
    secret.write_text("only for root")
    secret.chmod(0o600)
    module = next(site.path.glob("lib/python*/site-packages/six.py"))
    module.unlink()
    module.symlink_to(secret)
    environment = inspect_environment(CommandRunner(), site.path)
    with pytest.raises(PermissionError):
        wheels.pack(environment.distributions[0], environment, site.root, user_by_name("nobody"))


KILLED = """
import contextlib, json, os, signal
from pathlib import Path
from ansible_collections.lastgood.rollback.plugins.module_utils._base import command
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages import component as packages
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages import link

moment = "{moment}"


def die(at, work):
    def instead(*words, **options):
        result = work(*words, **options)
        if moment == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return instead


class Runner(command.CommandRunner):
    def as_user(self, user):
        return Runner(user=user, env=self.env)

    def with_env(self, env):
        return Runner(user=self.user, env={{**self.env, **env}})

    def run(self, argv, attempt, **options):
        name = "venv" if attempt.startswith("Making") else "install" if attempt.startswith("Installing") else ""
        return die(name, super().run)(argv, attempt, **options)


packages.write_marker = die("marker", packages.write_marker)
link._new_link = die("link", link._new_link)
link.exchange = die("exchanged", link.exchange)
plan = Plan.from_json(json.loads(Path("{plan}").read_text()))
nothing = lambda *words, **facts: contextlib.nullcontext()
component = packages.Packages(Context("t", Path("{workspace}"), Runner(), nothing, print))
component.prepare(plan)
component.switch(plan)
link.exchange = die("put back", link.exchange)
component.undo(plan)
"""


@pytest.mark.parametrize(
    ("moment", "direction"),
    [
        *((moment, way) for moment in ("venv", "install", "marker", "link", "exchanged") for way in ("on", "back")),
        ("put back", "back"),
    ],
)
def test_kill_at_any_moment(broken: tuple[Site, PointEntry], tmp_path: Path, moment: str, direction: str) -> None:
    """A process that is killed with -9 in the middle leaves enough to go on, and to go back."""
    site, point = broken
    before, inode = tree(site.path), site.path.stat().st_ino
    plan = site.plan(point)
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    program = KILLED.format(workspace=site.context.workspace, plan=tmp_path / "plan.json", moment=moment)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    state = site.state(plan)
    assert state is (State.SWITCHED if moment == "exchanged" else State.PREPARED)
    if direction == "on":
        if state is State.PREPARED:
            site.component.prepare(plan)
            site.component.switch(plan)
        assert site.state(plan) is State.SWITCHED
        assert frozen(site.path) == set(GOOD)
        site.component.finish(plan)
        assert not list(site.base.glob("staging-*"))
        assert not list(site.base.glob("link-*"))
    site.component.undo(plan)
    assert tree(site.path) == before
    assert site.path.stat().st_ino == inode
    assert not site.base.exists()


def test_renames_where_exchange_is_not_to_be_had(
    broken: tuple[Site, PointEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, point = broken
    inode = site.path.stat().st_ino
    monkeypatch.setattr(link, "exchange", lambda one, other: False)
    plan = site.plan(point)
    site.component.prepare(plan)
    site.component.switch(plan)
    assert site.state(plan) is State.SWITCHED
    assert frozen(site.path) == set(GOOD)
    site.component.undo(plan)
    assert site.path.stat().st_ino == inode
    assert not site.base.exists()


@pytest.mark.parametrize("direction", ["on", "back"])
def test_kill_between_two_renames(
    broken: tuple[Site, PointEntry], monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    """Only without an exchange there is a moment with nothing at the path; it can be left both ways."""
    site, point = broken
    before, inode = tree(site.path), site.path.stat().st_ino
    monkeypatch.setattr(link, "exchange", lambda one, other: False)
    plan = site.plan(point)
    site.component.prepare(plan)
    site.path.rename(site.base / f"previous-{plan.facts['id']}")
    assert site.state(plan) is State.PARTIAL
    if direction == "on":
        site.component.switch(plan)
        assert frozen(site.path) == set(GOOD)
    site.component.undo(plan)
    assert tree(site.path) == before
    assert site.path.stat().st_ino == inode
    assert not site.base.exists()


def test_without_any_installer_it_is_refused(broken: tuple[Site, PointEntry], monkeypatch: pytest.MonkeyPatch) -> None:
    site, point = broken
    monkeypatch.setattr(install, "_uv_programs", lambda owner: ["/nowhere/uv"])
    with pytest.raises(Refused, match="uv"):
        site.plan(point, installer="uv")
    assert site.plan(point, installer="auto").facts["installer"]["kind"] == "pip"


def test_a_pip_wheel_of_the_captured_set_can_install(site: Site) -> None:
    """The new environment runs it from the wheel, so that no other pip is needed."""
    make_environment(site.path, "six==1.16.0", "pip==24.0")
    point = site.capture()
    change(site.path, "install", "--no-deps", "six==1.17.0")
    plan = site.plan(point, installer="pip")
    assert plan.facts["installer"]["place"] == "staged"
    site.component.prepare(plan)
    site.component.switch(plan)
    assert frozen(site.path) == {"six==1.16.0", "pip==24.0"}
    inside = subprocess.run([site.path / "bin" / "pip", "--version"], check=True, capture_output=True, text=True)
    assert inside.stdout.startswith("pip 24.0 ")
