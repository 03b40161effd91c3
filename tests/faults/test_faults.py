# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault of the matrix once, at steps spread over a rollback: all old or all new, and nothing left or lost.

``make faults`` is the whole matrix.
"""

from __future__ import annotations

import pytest
from faults.case import play_case
from faults.cases import Case
from faults.kinds import FAULTS
from faults.stack import FaultStack

#: Marked where they are part of `make test` too.
NAMES = [pytest.param(fault.name, marks=[pytest.mark.host_only] if fault.host_only else []) for fault in FAULTS]


@pytest.mark.parametrize("fault", NAMES)
def test_all_is_old_or_all_is_new_after_a_fault(fault_stack: FaultStack, chosen: dict[str, Case], fault: str) -> None:
    case = chosen[fault]
    (result,) = play_case(fault_stack, case)
    assert result.problems == (), result
    assert result.ended in (("old",) if case.fault.prevents else ("old", "new"))
