# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Breaks what LAB_HARM names of the lab's stack, and keeps how everything was before and is afterwards.

LAB_HARM is ``everything``, or parts that `harm.strike` knows, separated by spaces.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))

from lab_stack import looking

# Of the lab itself: lab_stack has made them importable.
import harm  # isort: skip
import layout  # isort: skip
import reach  # isort: skip

#: What `main` writes, in the lab's directory.
REMEMBERED = "molecule.json"


def times(lab: layout.Lab) -> dict[str, dict[str, int]]:
    """When each service of the stack last stopped and started, by the clock that all hosts share."""
    found = {}
    for host, project in looking.deployed(lab):
        words = (
            f"systemctl show --property=InactiveEnterTimestampMonotonic,ActiveEnterTimestampMonotonic {project.name}"
        )
        told = dict(line.split("=") for line in reach.ssh(lab, host, words).splitlines())
        found[f"{host.name} {project.name}"] = {
            "stopped": int(told["InactiveEnterTimestampMonotonic"]),
            "started": int(told["ActiveEnterTimestampMonotonic"]),
        }
    return found


def main() -> None:
    """Look, break, look again."""
    lab = layout.load()
    if lab is None:
        raise layout.LabError("No lab is up: molecule create --scenario-name default starts one.")
    looking.wait_until_healthy(lab)
    good = looking.look(lab)
    part = os.environ["LAB_HARM"]
    harm.strike(lab, *([] if part == "everything" else part.split()))
    remembered = {"part": part, "good": good, "broken": looking.look(lab), "times": times(lab)}
    (lab.directory / REMEMBERED).write_text(json.dumps(remembered, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
