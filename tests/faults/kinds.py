# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can happen to a rollback: each fault happens while a step is held, and what it broke is mended before recovery."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from faults.on_hosts.lab_hold import CLOCK
from faults.stack import PART, UNHEALTHY, FaultStack
from faults.steps import Step

# Of the lab itself: the stack has made them importable.
import machines  # isort: skip
import reach  # isort: skip
from layout import DATABASE_HOST  # isort: skip

POSTGRES = "postgresql@15-main"
FILLER = "/srv/filler"
_MONTH_S, _HOUR_S = 30 * 86400, 3600


@dataclass(frozen=True)
class Moment:
    """A rollback that is held at a step.

    :param controller: the playbook's process, the first of its session.
    """

    stack: FaultStack
    controller: subprocess.Popen[str]
    step: Step

    def on(self, host: str, command: str) -> str:
        """What a command prints that root runs on a host."""
        return self.stack.on(host, command)


@dataclass(frozen=True)
class Fault:
    """One thing that can happen.

    :param strike: lets it happen; the step is held meanwhile.
    :param mend: afterwards, so that a recovery can be expected to work: what people would do; nothing where nothing broke.
    :param hits: the steps that it can hurt.
    :param dies: the held process ends by SIGKILL instead of going on.
    :param silences: the controller can't tell how it ended any more.
    :param prevents: no rollback can succeed that it hits.
    :param host_only: nothing but a real host can have it; the others are tried without one as well.
    """

    name: str
    strike: Callable[[Moment], object]
    mend: Callable[[Moment], object] | None = None
    hits: Callable[[Step], bool] = lambda _step: True
    dies: bool = False
    silences: bool = False
    prevents: bool = False
    host_only: bool = False


def _signal(number: signal.Signals, *, group: bool) -> Callable[[Moment], None]:
    def strike(moment: Moment) -> None:
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(moment.controller.pid, number)

    return strike


def _cut(moment: Moment) -> None:
    machines.cut(moment.stack.podman, moment.stack.lab.host(moment.step.host))


def _join(moment: Moment) -> None:
    machines.join(moment.stack.podman, moment.stack.lab.host(moment.step.host))


def _power(moment: Moment) -> None:
    host = moment.stack.lab.host(moment.step.host)
    machines.power_off(moment.stack.podman, host)
    machines.power_on(moment.stack.podman, host)


def _come_up(moment: Moment) -> None:
    reach.wait_for(moment.stack.lab, moment.stack.lab.host(moment.step.host))


def _kill_postgres(moment: Moment) -> None:
    moment.on(DATABASE_HOST, f"systemctl kill --signal=KILL {POSTGRES}")


def _start_postgres(moment: Moment) -> None:
    # After a crash the server goes through its log first, and systemd does not wait for it.
    moment.on(DATABASE_HOST, f"systemctl reset-failed {POSTGRES}; systemctl start {POSTGRES}")
    moment.on(
        DATABASE_HOST, "cd / && until sudo -u postgres psql -XAtqc 'SELECT 1' > /dev/null 2>&1; do sleep 0.1; done"
    )


def _fill(moment: Moment) -> None:
    room = "$(df --output=avail -B1 /srv | tail -1)"
    moment.on(moment.step.host, f"fallocate -l {room} {FILLER}; cat /dev/zero >> {FILLER} 2> /dev/null; df -k /srv")


def _make_room(moment: Moment) -> None:
    moment.on(moment.step.host, f"rm {FILLER}")
    if moment.step.host == DATABASE_HOST:
        _start_postgres(moment)


def _break_units(moment: Moment) -> None:
    for unit in _units(moment):
        drop_in = f"/etc/systemd/system/{unit}.service.d"
        moment.on(
            moment.step.host,
            f"mkdir -p {drop_in} && printf '[Service]\\nExecStartPre=/bin/false\\n' > {drop_in}/fault.conf",
        )
    moment.on(moment.step.host, "systemctl daemon-reload")


def _mend_units(moment: Moment) -> None:
    """Whoever mends a unit starts it: a rollback that ended without it does not come back for that."""
    units = " ".join(_units(moment))
    drop_ins = " ".join(f"/etc/systemd/system/{unit}.service.d" for unit in _units(moment))
    moment.on(moment.step.host, f"rm -r {drop_ins}; systemctl daemon-reload; systemctl reset-failed {units}; true")
    moment.on(moment.step.host, f"systemctl start {units}")


def _units(moment: Moment) -> list[str]:
    lab = moment.stack.lab
    return [lab.project(key).name for key in lab.host(moment.step.host).projects if key in PART]


def _jump(moment: Moment) -> None:
    """Every module finds the wall clock a month ahead from now on, or an hour behind, step by step in turn."""
    ahead = len(moment.step.name) % 2 == 0
    clock = moment.stack.root(moment.step.host) / CLOCK
    clock.write_text(str(_MONTH_S if ahead else -_HOUR_S), encoding="ascii")


def _jump_back(moment: Moment) -> None:
    (moment.stack.root(moment.step.host) / CLOCK).unlink(missing_ok=True)


def _on_database_host(step: Step) -> bool:
    return step.host == DATABASE_HOST


FAULTS = (
    Fault("kill -9 of the controller", _signal(signal.SIGKILL, group=True), silences=True),
    Fault("SIGINT to the controller", _signal(signal.SIGINT, group=True), silences=True),
    Fault("SIGTERM to the controller", _signal(signal.SIGTERM, group=False), silences=True),
    Fault("kill -9 of the module", lambda _moment: None, dies=True),
    Fault("host cut from the network", _cut, _join, host_only=True),
    Fault("host powered off and on", _power, _come_up, host_only=True),
    Fault("PostgreSQL killed", _kill_postgres, _start_postgres, _on_database_host),
    Fault("disk full", _fill, _make_room, lambda step: step.component != ""),
    Fault("service does not start", _break_units, _mend_units, lambda step: step.before_start, prevents=True),
    Fault(
        "health check fails",
        lambda moment: moment.on(moment.step.host, f"touch {UNHEALTHY}"),
        lambda moment: moment.on(moment.step.host, f"rm -f {UNHEALTHY}"),
        lambda step: step.before_start,
        prevents=True,
    ),
    Fault("clock jumps", _jump, _jump_back, host_only=True),
)
