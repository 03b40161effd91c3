# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts a rollback of everything on the broken stack, and kills its controller once services were stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

from lab_stack import Stack, kill, layout, looking, wait_until

# Of the lab itself: lab_stack has made them importable.
import damage  # isort: skip
from containers import Podman  # isort: skip


def main() -> None:
    """Remember how the services answered, and what the interrupted rollback left."""
    lab = layout.load()
    assert lab is not None
    stack = Stack(lab, Podman(lab.directory))
    wait_until(lambda: 0 not in looking.healths(lab).values())
    answers = {f"{host.name} {project.name}": looking.health(host, project) for host, project in looking.deployed(lab)}
    rollback = stack.rollback()
    stack.wait_for_stop(rollback)
    kill(rollback)
    services = [looking.state(lab, host, project.name) for host, project in looking.deployed(lab)]
    left = {"open": stack.open_transactions(), "timers": stack.timers(), "services": services}
    file = lab.directory / damage.REMEMBERED
    remembered = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**remembered, "answers": answers, "interrupted": left}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
