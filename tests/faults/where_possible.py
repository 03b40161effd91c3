# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault that only a real host can have, where hosts can be started on this machine; else a line says why not.

python -m faults.where_possible   ends with 0 when the faults were left out, else as pytest does; a lab that does not work
where it could is a failure
"""

from __future__ import annotations

import subprocess
import sys

from lab_stack import ROOT

# Of the lab itself: the stack has made them importable.
import lab  # isort: skip
from ability import CannotHaveLab  # isort: skip
from layout import LabError, lab_directory  # isort: skip


def main() -> int:
    """Run the faults, or say why not."""
    try:
        lab.try_it(lab_directory())
    except CannotHaveLab as error:
        print(f"The faults of real hosts were left out: {' '.join(str(error).split())}", flush=True)
        return 0
    except LabError as error:
        print(f"This machine can have a lab, and yet it does not work: {error}", file=sys.stderr)
        return 1
    return subprocess.run(
        ["pytest", "-m", "host_only", "--durations=0", str(ROOT / "tests" / "faults")], cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
