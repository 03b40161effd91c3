# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Looking at a Python environment: what is installed in it, what made it, and whether its modules import.

Everything is asked of the environment's own interpreter, isolated from variables and user packages, in a process that
belongs to the environment's owner: what it runs at start (``.pth`` files, ``sitecustomize``) is the owner's code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.loaded import require_environment
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

#: Seconds to inspect an environment; reading metadata takes a fraction of one.
INSPECT_TIMEOUT = 60
#: Precedes our JSON: whatever code of the environment prints before it does not matter.
_MARK = "\x1elastgood\x1e"

# Runs in the interpreter that is looked at, which may be older than ours.
_INSPECT = r"""
import json, os, sys, sysconfig
out = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
try:
    import importlib.metadata as metadata, importlib.util as util
except ImportError:
    metadata = util = None
paths = sysconfig.get_paths()
sites = sorted({paths["purelib"], paths["platlib"]})
found, damaged = [], []
for site in {os.path.realpath(site): site for site in sites}.values():
    for entry in sorted(os.listdir(site)) if metadata and os.path.isdir(site) else []:
        where = os.path.join(site, entry)
        if entry.startswith("~"):
            continue
        if entry.endswith((".egg-info", ".egg-link", ".egg")):
            damaged.append(entry)
        elif entry.endswith(".dist-info"):
            dist = metadata.Distribution.at(where)
            name, version = dist.metadata.get("Name"), dist.metadata.get("Version")
            if not name or not version:
                damaged.append(entry)
                continue
            origin = json.loads(dist.read_text("direct_url.json") or "{}")
            found.append({"name": name, "version": version, "info": where, "origin": origin})
config = {}
try:
    with open(os.path.join(sys.prefix, "pyvenv.cfg"), encoding="utf-8") as lines:
        config = dict([word.strip() for word in line.split("=", 1)] for line in lines if "=" in line)
except OSError:
    pass
base = sys.executable
if sys.prefix != sys.base_prefix:
    short = "python%d.%d" % sys.version_info[:2]
    homes = [config.get("home", ""), os.path.join(sys.base_prefix, "bin")]
    places = [os.path.join(home, name) for home in homes if home for name in (short, "python3", "python")]
    base = next((place for place in places if os.path.exists(place)), base)
bundled = ""
if util and util.find_spec("ensurepip"):
    import ensurepip
    places = [sysconfig.get_config_var("WHEEL_PKG_DIR"), os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")]
    for place in filter(None, places):
        wheels = [name for name in sorted(os.listdir(place)) if name.startswith("pip-")] if os.path.isdir(place) else []
        bundled = bundled or (os.path.join(place, wheels[-1]) if wheels else "")
pip = ""
try:
    pip = metadata.version("pip") if metadata and util.find_spec("pip") else ""
except metadata.PackageNotFoundError:
    pass
answer = {
    "interpreter": {
        "implementation": sys.implementation.name,
        "version": "%d.%d.%d" % sys.version_info[:3],
        "abi": sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag,
        "platform": sysconfig.get_platform(),
        "executable": base,
        "makes_environments": bool(util and util.find_spec("venv")),
        "pip": pip,
        "bundled_pip": bundled,
    },
    "prefix": sys.prefix, "scripts": paths["scripts"], "sites": sites,
    "distributions": found, "damaged": damaged,
    "system_site": config.get("include-system-site-packages", "").lower() == "true",
    "prompt": config.get("prompt", "").strip("'\""),
}
os.write(out, (MARK + json.dumps(answer)).encode())
"""

# Imports run with their output thrown away and end without waiting for threads that a module may have started.
_IMPORT = r"""
import json, os, sys
out = os.dup(1)
null = os.open(os.devnull, os.O_WRONLY)
os.dup2(null, 1)
os.dup2(null, 2)
import importlib
failed = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except BaseException as error:
        failed[name] = "%s: %s" % (type(error).__name__, error)
os.write(out, (MARK + json.dumps(failed)).encode())
os._exit(0)
"""


def canonical(name: str) -> str:
    """A distribution's name as comparisons need it: lower case, with ``-`` for every run of ``-``, ``_`` and ``.``."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Interpreter:
    """A Python that environments are made with.

    :param abi: what compiled modules must have been built for, e.g. ``cpython-311-x86_64-linux-gnu``.
    :param executable: the base interpreter's path, also when an environment was asked.
    :param pip: version of the pip that it can import; empty when it has none.
    :param bundled_pip: path of the pip wheel that came with Python; empty when there is none.
    """

    implementation: str
    version: str
    abi: str
    platform: str
    executable: str
    makes_environments: bool
    pip: str
    bundled_pip: str

    def to_json(self) -> JsonObject:
        """A plain JSON object; ``Interpreter(**raw)`` is its inverse."""
        return asdict(self)

    @property
    def series(self) -> str:
        """``3.11`` of ``3.11.7``."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True)
class Distribution:
    """One installed distribution.

    :param name: canonical.
    :param info: its ``.dist-info`` directory.
    :param source: the directory that an editable installation takes its code from; empty for any other.
    :param revision: address and commit that it was built from; empty where it came from an index, a file or a directory.
    """

    name: str
    version: str
    info: Path
    source: str = ""
    revision: str = ""

    @property
    def origin(self) -> str:
        """What distinguishes it from another of the same version; empty when nothing does."""
        return f"editable, {self.source}" if self.source else self.revision


@dataclass(frozen=True)
class Environment:
    """What inspecting an environment finds. Packages of the base interpreter are not part of it.

    :param damaged: entries of ``site-packages`` without a name, a version or a list of files that can be read.
    :param system_site: whether packages of the base interpreter can be imported too.
    """

    path: Path
    interpreter: Interpreter
    prefix: Path
    scripts: Path
    sites: tuple[Path, ...]
    distributions: tuple[Distribution, ...]
    damaged: tuple[str, ...]
    system_site: bool
    prompt: str

    @property
    def packages(self) -> dict[str, str]:
        """Canonical name → version."""
        return {found.name: found.version for found in self.distributions}

    @property
    def origins(self) -> dict[str, str]:
        """Canonical name → origin, of those that have one."""
        return {found.name: found.origin for found in self.distributions if found.origin}

    @property
    def duplicates(self) -> list[str]:
        """Names that are installed twice, as an interrupted upgrade leaves them."""
        names = [found.name for found in self.distributions]
        return sorted({name for name in names if names.count(name) > 1})


def inspect_environment(run: CommandRunner, path: Path) -> Environment:
    """Ask an environment's interpreter what is installed.

    :param run: runs programs as the environment's owner.
    :raises Refused: when somebody else could change what its interpreter loads.
    :raises CommandFailed: when its interpreter can't be started or fails.
    """
    require_environment(path, run.uid)
    raw = _ask(run, path / "bin" / "python", _INSPECT, [], f"Looking at the environment {path}", INSPECT_TIMEOUT)
    return _environment(path, raw)


def inspect_interpreter(run: CommandRunner, executable: Path) -> Interpreter:
    """Ask an interpreter what it is.

    :raises CommandFailed: when it can't be started or fails.
    """
    raw = _ask(run, executable, _INSPECT, [], f"Looking at the interpreter {executable}", INSPECT_TIMEOUT)
    return Interpreter(**raw["interpreter"])


def failed_imports(run: CommandRunner, path: Path, modules: Sequence[str], timeout: float) -> dict[str, str]:
    """Import modules in one fresh process of an environment.

    :param timeout: seconds for all of them together.
    :return: module → what went wrong; empty when all is well. No byte code is written.
    """
    if not modules:
        return {}
    try:
        attempt = f"Importing {', '.join(modules)} in {path}"
        require_environment(path, run.uid)
        raw = _ask(run, path / "bin" / "python", _IMPORT, modules, attempt, timeout)
    except LastGoodError as error:
        return {modules[0] if len(modules) == 1 else ", ".join(modules): error.message}
    return {str(name): str(why) for name, why in raw.items()}


def _ask(
    run: CommandRunner, python: Path, script: str, arguments: Sequence[str], attempt: str, timeout: float
) -> dict[str, Any]:
    """Run one of our scripts, isolated, and read the JSON after the mark."""
    argv = [str(python), "-I", "-B", "-c", f"MARK = {_MARK!r}\n{script}", *arguments]
    done = run.run(argv, attempt, timeout=timeout, cwd="/")
    _noise, mark, answer = done.stdout.rpartition(_MARK)
    try:
        raw = json.loads(answer) if mark else None
    except ValueError:
        raw = None
    if not isinstance(raw, dict):
        raise CommandFailed(attempt, [str(python)], done.rc, stderr="it ended before it had answered")
    return raw


def _environment(path: Path, raw: Mapping[str, Any]) -> Environment:
    distributions = tuple(
        Distribution(canonical(one["name"]), one["version"], Path(one["info"]), *read_origin(one["origin"]))
        for one in raw["distributions"]
    )
    return Environment(
        path=path,
        interpreter=Interpreter(**raw["interpreter"]),
        prefix=Path(raw["prefix"]),
        scripts=Path(raw["scripts"]),
        sites=tuple(Path(site) for site in raw["sites"]),
        distributions=distributions,
        damaged=tuple(raw["damaged"]),
        system_site=raw["system_site"],
        prompt=raw["prompt"],
    )


def read_origin(raw: Mapping[str, Any]) -> tuple[str, str]:
    """Source and revision of a `Distribution`, from its ``direct_url.json``; without a password in the address."""
    url = urlsplit(str(raw.get("url") or ""))
    if raw.get("dir_info", {}).get("editable"):
        return unquote(url.path), ""
    control = raw.get("vcs_info") or {}
    if not control:
        return "", ""
    address = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
    return "", f"{control.get('vcs')}+{address}@{control.get('commit_id')}"
