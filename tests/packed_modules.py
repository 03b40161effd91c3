# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules as Ansible packs them for a host, run without Ansible around them, by any Python, and killed where it is asked for.

What a module packs holds everything that it imports, so that no source tree is needed; a payload here is that of all modules
which change a host together. ``python tests/packed_modules.py CHECKOUT FILE`` writes the one of a checkout into a file.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODULES = ("file_restore", "git_reset", "pg_restore", "restore_point", "transaction", "venv_restore")
_TESTS = Path(__file__).resolve().parent
#: The beginning of 2026; an archive of Python code knows no time before 1980.
_TIME = 1_767_225_600
_RUN = _TESTS / "run_packed_module.py"
_PLUGINS = "ansible_collections/lastgood/rollback/plugins"


@dataclass(frozen=True)
class Modules:
    """Modules on a host of one state directory."""

    state_dir: Path
    #: What they are packed in; those of this tree without it.
    payload: Path | None = None
    python: str = sys.executable

    def run(self, module: str, **options: Any) -> dict[str, Any]:
        """Its result; it has to go well."""
        done = self._call(module, options, "")
        result: dict[str, Any] = json.loads(done.stdout or "{}")
        assert done.returncode == 0, f"{result.get('msg')} {done.stderr}"
        return result

    def kill(self, module: str, event: str, **options: Any) -> None:
        """Have it killed before it journals an event for the first time."""
        done = self._call(module, options, event)
        assert done.returncode == -signal.SIGKILL, f"It came to its end: {done.stdout} {done.stderr}"

    def _call(self, module: str, options: dict[str, Any], ends_at: str) -> subprocess.CompletedProcess[str]:
        name = f"{_PLUGINS.replace('/', '.')}.modules.{module}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ANSIBLE"))}
        if self.payload is None:
            command = [self.python, "-m", name]
            kept["PYTHONPATH"] = str(_TESTS.parent / "collections")
        else:
            command = [self.python, str(_RUN), str(self.payload), name, ends_at]
        return subprocess.run(
            command,
            input=json.dumps({"ANSIBLE_MODULE_ARGS": {"state_dir": str(self.state_dir), **options}}),
            capture_output=True,
            text=True,
            check=False,
            env=kept,
            cwd="/",
        )


def stored(archive: Path, into: Path) -> Path:
    """A payload that was kept, unpacked below a directory."""
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="data")
    return into


def packed(collections: Path, into: Path) -> Path:
    """What Ansible packs of the modules of the collection below ``collections``, unpacked; by a process of its own.

    Ansible remembers the first collections that it was shown.
    """
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "PYTHONPATH": str(collections),
        "ANSIBLE_CONFIG": str(_TESTS.parent / "ansible.cfg"),
    }
    subprocess.run([sys.executable, __file__, "--here", str(collections), str(into)], check=True, env=environment)
    return into


def zipped(tree: Path, python: str = sys.executable) -> Path:
    """The payload, with the byte code of each file beside it for this Python, so that no call has to compile it."""
    unchecked = ["-b", "--invalidation-mode", "unchecked-hash", "-s", str(tree)]
    subprocess.run([python, "-m", "compileall", "-q", *unchecked, str(tree)], check=True)
    target = tree.with_name(f"{tree.name}.zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(tree.rglob("*.py*")):
            archive.write(path, str(path.relative_to(tree)))
    return target


def _pack_here(collections: Path, into: Path) -> None:
    # Only here: pytest imports this file with another configuration.
    from ansible.executor.module_common import modify_module  # noqa: PLC0415
    from ansible.parsing.dataloader import DataLoader  # noqa: PLC0415
    from ansible.plugins.loader import init_plugin_loader  # noqa: PLC0415
    from ansible.template import Templar  # noqa: PLC0415

    init_plugin_loader()
    for name in MODULES:
        built = modify_module(
            module_name=f"lastgood.rollback.{name}",
            module_path=str(collections / _PLUGINS / "modules" / f"{name}.py"),
            module_args={},
            templar=Templar(DataLoader()),
            task_vars={"ansible_python_interpreter": sys.executable},
        )
        (data,) = re.findall(rb"zip_data=u?'([A-Za-z0-9+/=]+)'", built.b_module_data)
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(data))) as archive:
            archive.extractall(into)


def _keep(checkout: Path, target: Path) -> None:
    """Into a file for the repository; the same bytes whenever it is made."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime, member.mode = _TIME, 0o755 if member.isdir() else 0o644
        member.uid, member.gid, member.uname, member.gname = 0, 0, "", ""
        return member

    with tempfile.TemporaryDirectory() as scratch, tarfile.open(target, "w:xz") as tar:
        tar.add(packed(checkout.resolve() / "collections", Path(scratch)), ".", filter=plain)


if __name__ == "__main__":
    if sys.argv[1] == "--here":
        _pack_here(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        _keep(Path(sys.argv[1]), Path(sys.argv[2]))
