# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab with its fault stack: captured when it was good, and held by nobody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from built_modules import share_built_modules
from faults.cases import Case, all_cases, spread
from faults.matrix import captured, recorded
from faults.stack import FaultStack
from faults.steps import SCENARIOS
from lab_stack import lab_is_up


@pytest.fixture(scope="session")
def fault_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultStack]:
    """The lab, with the means to hold its hosts."""
    share_built_modules(tmp_path_factory.mktemp("built-modules"))
    with lab_is_up(hosts=1, posts=200) as plain:
        yield captured(plain)


@pytest.fixture(scope="session")
def chosen(fault_stack: FaultStack) -> dict[str, Case]:
    """One case for each fault, by its name."""
    first = SCENARIOS[0]
    cases = list(all_cases({first: recorded(fault_stack, first)}))
    return {case.fault.name: case for case in spread(cases)}
