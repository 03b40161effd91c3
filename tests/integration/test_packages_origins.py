# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where packages came from, and what becomes of them when that is gone: editable, repositories, archives, yanked wheels."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import sha256_file
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages import link
from support.environments import Site, change, frozen, make_environment, said_by, tree, write_project

INSTALLERS = pytest.mark.parametrize("installer", ["uv", "pip"])


@pytest.fixture
def site(tmp_path: Path, make_context: Callable[..., Context]) -> Site:
    return Site(tmp_path, make_context())


def module_file(environment: Path) -> Path:
    """Where ``our_app`` is imported from."""
    command = [environment / "bin" / "python", "-c", "import our_app; print(our_app.__file__)"]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def commit(repository: Path, says: str) -> str:
    """Commit the project with other code, in a repository; the commit."""
    write_project(repository, says)
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    git = ["git", "-C", str(repository)]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", says]):
        subprocess.run([*git, *words], check=True, env=environment)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


@INSTALLERS
def test_an_editable_install_comes_back_as_one(site: Site, installer: str) -> None:
    """Also when the same version is installed as an ordinary package by then."""
    project = write_project(site.root / "project")
    make_environment(site.path, "six==1.16.0")
    change(site.path, "install", "--editable", str(project))
    before = frozen(site.path)
    point = site.capture(imports=["our_app"])
    change(site.path, "install", "--reinstall", str(project))
    assert frozen(site.path) != before
    plan = site.roll_back(point, installer=installer)
    assert site.component.result(plan, {})["changed_packages"] == [
        {"name": "our-app", "before": "1.0", "after": f"1.0 (editable, {project})"}
    ]
    assert any(f"its code stays in {project}" in warning for warning in plan.warnings)
    assert frozen(site.path) == before
    assert module_file(site.path) == project / "our_app.py"
    write_project(project, "two")
    assert said_by(site.path / "bin" / "our-tool") == f"two {site.path.resolve()}"
    assert not site.plan(point).changed


def test_an_editable_install_whose_directory_is_gone_is_refused(site: Site) -> None:
    project = write_project(site.root / "project")
    make_environment(site.path)
    change(site.path, "install", "--editable", str(project))
    point = site.capture()
    shutil.rmtree(project)
    before = tree(site.path)
    with pytest.raises(Refused, match=rf"our-app in {project}.*Put them back first"):
        site.plan(point)
    assert tree(site.path) == before


@INSTALLERS
def test_a_package_from_a_vcs_url_comes_back_at_its_commit_without_the_repository(site: Site, installer: str) -> None:
    """The version is the same in both commits: only what is recorded of its origin tells them apart."""
    repository = site.root / "repository"
    good = commit(repository, "good")
    make_environment(site.path)
    change(site.path, "install", f"our_app @ git+file://{repository}@{good}")
    before = frozen(site.path)
    point = site.capture()
    bad = commit(repository, "bad")
    change(site.path, "install", f"our_app @ git+file://{repository}@{bad}")
    shutil.rmtree(repository)
    plan = site.roll_back(point, installer=installer)
    assert plan.discards == {"packages": [f"our-app==1.0 (git+file://{repository}@{bad})"]}
    assert frozen(site.path) == before
    assert said_by(site.path / "bin" / "our-tool") == f"good {site.path.resolve()}"
    assert not site.plan(point).changed


def test_a_vcs_url_among_requirements_is_refused_with_its_line(site: Site) -> None:
    make_environment(site.path)
    lock = site.root / "requirements.txt"
    lock.write_text("\nour_app @ git+https://example.org/our_app@0123456\n")
    with pytest.raises(Refused, match=r"requirements\.txt, line 2: .*Only exact versions"):
        site.plan(None, requirements=str(lock))


@INSTALLERS
def test_a_package_of_which_there_is_only_a_source_archive_is_built_when_it_is_captured(
    site: Site, installer: str
) -> None:
    """What was built then is what comes back: no compiler, no build tool, no archive is needed any more."""
    project = write_project(site.root / "our_app-1.0")
    archive = site.root / "our_app-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(project, arcname=project.name)
    make_environment(site.path)
    change(site.path, "install", str(archive))
    digest = sha256_file(module_file(site.path))
    point = site.capture()
    shutil.rmtree(project)
    archive.unlink()
    change(site.path, "uninstall", "our_app")
    site.roll_back(point, installer=installer)
    assert sha256_file(module_file(site.path)) == digest
    assert said_by(site.path / "bin" / "our-tool") == f"one {site.path.resolve()}"


def test_a_wheelhouse_with_only_a_source_archive_is_refused_by_name(site: Site) -> None:
    make_environment(site.path)
    house = site.root / "house"
    house.mkdir()
    (house / "our_app-1.0.tar.gz").write_bytes(b"an archive")
    lock = site.root / "requirements.txt"
    lock.write_text(f"our_app==1.0 --hash=sha256:{sha256_file(house / 'our_app-1.0.tar.gz')}\n")
    with pytest.raises(Refused, match=r"no wheel .*our-app==1\.0.*pip wheel"):
        site.plan(None, requirements=str(lock), wheelhouse=str(house))


class Index:
    """A package index of our own, in a directory.

    :param directory: ``simple/our-app/`` of it holds the page and the wheel.
    """

    def __init__(self, directory: Path) -> None:
        self.page = directory / "simple" / "our-app" / "index.html"
        self.page.parent.mkdir(parents=True)
        handler = functools.partial(_Quiet, directory=str(directory))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"

    def offer(self, project: Path) -> str:
        """Build the project's wheel and offer it; a locked line of requirements for it."""
        command = ["uv", "build", "--quiet", "--wheel", "--out-dir", str(self.page.parent), str(project)]
        subprocess.run(command, check=True, capture_output=True)
        [wheel] = self.page.parent.glob("*.whl")
        self.page.write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
        return f"our_app==1.0 --hash=sha256:{sha256_file(wheel)}\n"

    def yank(self) -> None:
        """Take the wheel away, as an index does with what must not be installed any more."""
        for wheel in self.page.parent.glob("*.whl"):
            wheel.unlink()
        self.page.write_text("")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    index = Index(tmp_path / "index")
    thread = threading.Thread(target=index.server.serve_forever)
    thread.start()
    yield index
    index.server.shutdown()
    thread.join()
    index.server.server_close()


def test_a_wheel_that_was_yanked_since_comes_back_from_the_restore_point(
    site: Site, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_environment(site.path)
    lock = site.root / "requirements.txt"
    lock.write_text(index.offer(write_project(site.root / "project")))
    change(site.path, "install", "--index-url", index.url, "--require-hashes", "-r", str(lock))
    before = frozen(site.path)
    point = site.capture()
    change(site.path, "uninstall", "our_app")
    index.yank()

    # From the index it can't be had any more: found while preparing, and nothing has changed.
    (site.root / "uv.toml").write_text(f'index-url = "{index.url}"\n')
    monkeypatch.setattr(site.component.context.run, "env", {"UV_CONFIG_FILE": str(site.root / "uv.toml")})
    plan = site.plan(None, requirements=str(lock), installer="uv")
    with pytest.raises(CommandFailed, match=r"our-app"):
        site.component.prepare(plan)
    site.component.undo(plan)
    assert frozen(site.path) == set()

    site.roll_back(point)
    assert frozen(site.path) == before


@pytest.mark.parametrize("exchange", [True, False])
def test_console_scripts_run_through_the_link_and_with_the_old_shebang_after_an_undo(
    site: Site, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    """An adopted directory's scripts name ``<path>/bin/python``: they run again when it is put back."""
    if not exchange:
        monkeypatch.setattr(link, "exchange", lambda one, other: False)
    project = write_project(site.root / "project")
    make_environment(site.path)
    change(site.path, "install", str(project))
    tool = site.path / "bin" / "our-tool"
    shebang = tool.read_bytes().splitlines()[0]
    assert shebang == f"#!{site.path}/bin/python".encode()
    point = site.capture()
    change(site.path, "install", "six==1.16.0")
    plan = site.roll_back(point)
    assert site.path.is_symlink()
    assert tool.read_bytes().splitlines()[0] != shebang
    assert said_by(tool) == f"one {site.path.resolve()}"
    site.component.undo(plan)
    assert tool.read_bytes().splitlines()[0] == shebang
    assert said_by(tool) == f"one {site.path}"
