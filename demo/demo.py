# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo of lastgood.rollback: a real stack, a restore point, a disaster, and the way back.

demo.py all       everything, from nothing to nothing
demo.py undo      the same with a rollback that fails its checks: everything must be as it was before it
demo.py up        build the stack, and let it run to play with
demo.py capture   make a restore point
demo.py break     let the disaster happen
demo.py rollback  go back to the restore point, and prove it
demo.py status    the services, their commits and their health
demo.py down      end every process and remove every file
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence

import acts
from commands import DemoError
from console import say

COMMANDS: dict[str, Callable[[acts.Options], int]] = {
    "all": acts.everything,
    "undo": acts.undo,
    "up": acts.up,
    "capture": acts.capture,
    "break": acts.break_it,
    "rollback": acts.rollback,
    "status": acts.status,
    "down": acts.down,
}
CLEAN_UP = "`make demo-down` (or: demo.py down) ends every process and removes every file of it."


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one step; the exit status of this program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--posts", type=int, default=100_000, help="how many posts the database gets (100000)")
    parser.add_argument("--keep", action="store_true", help="leave the stack running at the end of all and undo")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return COMMANDS[given.command](acts.Options(given.posts, given.keep))
    except DemoError as error:
        say(f"\nThe demo failed: {error}\nWhat it started is still there. {CLEAN_UP}")
        return 1
    except KeyboardInterrupt:
        say(f"\nInterrupted. What was started is still there. {CLEAN_UP}")
        return 130


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
