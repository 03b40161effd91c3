# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ansible-test sanity on a real copy of the tree, on supported Pythons, without writing outside of the clone.

These are the oldest and the newest; SANITY_PYTHONS names others ("3.11 3.12"), or "all".

ansible-test wants a real directory .../ansible_collections/lastgood/rollback and rejects the links of this checkout.
It skips a Python that it does not find, and stays green; here that is a failure. So Pythons that are missing are first
asked from uv, which fetches them into the clone. Arguments are handed on to ansible-test.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ansible_test
from ansible_test._util.target.common.constants import CONTROLLER_PYTHON_VERSIONS, REMOTE_ONLY_PYTHON_VERSIONS

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "sanity"
HOME = CACHE / "home"
PYTHONS = CACHE / "pythons"
FETCHED = CACHE / "fetched"
COPY = CACHE / "ansible_collections" / "lastgood" / "rollback"

NOT_FOUND = re.compile(r'sanity test "(?P<test>\S+)" on Python (?P<version>\S+) because it could not be found')
INCOMPLETE = re.compile(r"due to missing (libyaml|virtual environment) support|All targets skipped")

# ansible-test makes the pip of its environments with a script that it downloads; Python has what that takes.
GET_PIP = """\
import subprocess
import sys

for command in ("ensurepip --upgrade --default-pip", "pip install --quiet pip=={version}"):
    subprocess.run([sys.executable, "-m", *command.split()], stdout=subprocess.DEVNULL, check=True)
"""


def copy_tree() -> None:
    """Bring the copy in step with the tree: tracked and new files, without links; what ansible-test wrote stays."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    names = filter(None, listing.split("\0"))
    wanted = {name for name in names if (ROOT / name).is_file() and not (ROOT / name).is_symlink()}
    for path in COPY.rglob("*"):
        name = path.relative_to(COPY).as_posix()
        if path.is_file() and name not in wanted and not name.startswith((".git/", "tests/output/")):
            path.unlink()
    for name in wanted:
        (COPY / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, COPY / name)
    # Of its own, or ansible-test asks the checkout around it, which ignores .cache: "all targets skipped", and green.
    subprocess.run(["git", "init", "--quiet", str(COPY)], check=True)


def prepare_home() -> None:
    """Make a home directory that holds ansible-test's caches, with the pip settings of the user's own."""
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    requirements = Path(ansible_test.__file__).parent / "_internal" / "python_requirements.py"
    for version in re.findall(r"pip='([0-9.]+)'", requirements.read_text(encoding="utf-8")):
        script = cache / f"get_pip_{version.replace('.', '_')}.py"
        script.write_text(GET_PIP.format(version=version), encoding="utf-8")
    settings = Path.home() / ".config" / "pip"
    link = HOME / ".config" / "pip"
    if settings.is_dir() and not link.exists():
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(settings)


def required_pythons() -> list[str]:
    """The versions that have to be there: of those that this ansible-core can test, from tests/config.yml's 3.9 on."""
    named = os.environ.get("SANITY_PYTHONS", "").split()
    if named and named != ["all"]:
        return named
    supported = [version for version in (*REMOTE_ONLY_PYTHON_VERSIONS, *CONTROLLER_PYTHON_VERSIONS) if version != "3.8"]
    return supported if named else [supported[0], supported[-1]]


def provide_pythons() -> None:
    """Link what this machine has, and have uv fetch what is missing. What it can't fetch is found missing later."""
    link_pythons()
    missing = [version for version in required_pythons() if not (PYTHONS / f"python{version}").exists()]
    if missing:
        print(f"Fetching Python {', '.join(missing)}", flush=True)
        subprocess.run(
            ["uv", "python", "install", "--no-config", "--no-bin", "--install-dir", FETCHED, *missing], check=False
        )
        link_pythons()


def link_pythons() -> None:
    """Put every Python of this machine that runs into one directory, by its version."""
    shutil.rmtree(PYTHONS, ignore_errors=True)
    PYTHONS.mkdir(parents=True)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    managed = Path.home() / ".local" / "share" / "uv" / "python"
    places = [*pyenv.glob("versions/*/bin"), *managed.glob("*/bin"), *FETCHED.glob("*/bin")]
    for directory in [*places, *map(Path, os.get_exec_path())]:
        for python in directory.glob("python3.[0-9]*"):
            link = PYTHONS / python.name
            if re.fullmatch(r"python3\.\d+", python.name) and not link.exists() and runs(python):
                link.symlink_to(python)


def runs(python: Path) -> bool:
    """Tell whether this is a Python that can make environments (the shims of pyenv exist, but need not run)."""
    return subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode == 0


def main() -> int:
    copy_tree()
    prepare_home()
    provide_pythons()
    environment = {
        **os.environ,
        "HOME": str(HOME),
        "PATH": os.pathsep.join([str(PYTHONS), os.environ["PATH"]]),
    }
    pythons = [word for version in required_pythons() for word in ("--target-python", version)]
    command = ["ansible-test", "sanity", "--controller", "origin:python=venv/default", *pythons]
    command += ["--truncate", "0", "--color", "no", *sys.argv[1:]]
    missing: set[str] = set()
    incomplete = False
    output = subprocess.STDOUT
    with subprocess.Popen(
        command, cwd=COPY, env=environment, stdout=subprocess.PIPE, stderr=output, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            missing.update(match["version"] for match in NOT_FOUND.finditer(line))
            incomplete |= bool(INCOMPLETE.search(line))
    red = missing.intersection(required_pythons())
    if red:
        print(
            f"ansible-test skipped Python {', '.join(sorted(red))}: not found on this machine, nor fetched. Install"
            " what is missing, or name in SANITY_PYTHONS those that have to be checked.",
            file=sys.stderr,
        )
    return process.returncode or int(bool(red) or incomplete)


if __name__ == "__main__":
    sys.exit(main())
