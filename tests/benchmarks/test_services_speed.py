# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a wave of services takes to start: its slowest member, and not the sum of all."""

from __future__ import annotations

import time

from ansible_collections.lastgood.rollback.plugins.module_utils._services import control
from integration.test_services import RUN, Supervised, supervised

__all__ = ["supervised"]

#: Seconds that each service sleeps before it answers.
SLEEPS = (2, 4, 6, 8, 10, 12)


def seconds(*starts: list[control.Service]) -> float:
    """How long it takes to start these, one list after the other; all are stopped afterwards."""
    began = time.monotonic()
    for services in starts:
        control.start(services, RUN)
    took = time.monotonic() - began
    for services in starts:
        control.stop(services, RUN)
    return took


def test_a_wave_takes_as_long_as_its_slowest_member(supervised: Supervised) -> None:
    """At most 20 % more than that member alone; compared, in the same run, with one after the other."""
    supervised.run(**{f"s{sleep}": f"slow:{sleep},autostart=false,startsecs=0" for sleep in SLEEPS})
    wave = control.parse([supervised.spec(f"s{sleep}", timeout=120, soak=0) for sleep in SLEEPS])
    alone = seconds(wave[-1:])
    together = seconds(wave)
    one_by_one = seconds(*([service] for service in wave))
    print(f"\nslowest alone {alone:.1f} s, all in one wave {together:.1f} s, one by one {one_by_one:.1f} s")
    assert together <= 1.2 * alone
    assert together < 0.5 * one_by_one
