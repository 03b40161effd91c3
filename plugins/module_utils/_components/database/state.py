# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The state of one database of a cluster, compared with the plan of its rollback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import StateConflict
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.catalogue import (
    DatabaseRow,
    all_databases,
    system_identifier,
    terminate_leftover_sessions,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server, Session
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import INCOMING, SideNames

from ..context import Context
from ..plan import Plan, State
from .connection import open_server
from .records import is_side_of, noted_oid


class DatabaseState:
    """What inspection finds in a cluster, compared with a plan.

    Names and OIDs decide, those of the plan and that of the side database, which was written down when that was made. What a
    comment says is believed of a database that is ours by these.
    """

    def __init__(self, context: Context, plan: Plan) -> None:
        self.context = context
        self.plan = plan
        self.server: Server = open_server(context, plan.facts["connection"])
        self.names = SideNames.of(context.transaction, plan.name)
        self.live: DatabaseRow | None = None
        self.incoming: DatabaseRow | None = None
        self.previous: DatabaseRow | None = None
        self.rejected: DatabaseRow | None = None
        self.databases: dict[str, DatabaseRow] = {}

    @contextmanager
    def session(self, *, changing: bool = False) -> Iterator[Session]:
        """See `planned_session`; it has been inspected once.

        :param changing: what a killed call has left running on the server is ended before.
        """
        with planned_session(self.server, self.plan) as session:
            if changing:
                terminate_leftover_sessions(session, self.server.application_name)
            self.refresh(session)
            yield session

    def inspect(self) -> None:
        """Inspect once, for those that change nothing."""
        with self.session():
            pass

    def refresh(self, session: Session) -> None:
        """Inspect again."""
        self.databases = all_databases(session)
        self.live = self.databases.get(self.plan.name)
        self.incoming = self.databases.get(self.names.incoming)
        self.previous = self.databases.get(self.names.previous)
        rejected = self.databases.get(self.names.rejected)
        self.rejected = rejected if rejected is not None and rejected.oid == noted_oid(self.context) else None

    def state(self) -> State:
        """What the last inspection found."""
        old = self.plan.facts["old_oid"]
        live = self.live.oid if self.live else None
        if live == old:
            return self._unswitched()
        took_over = live is not None and live == noted_oid(self.context) and self.incoming is None
        kept = self.previous is None or self.previous.oid == old
        return State.SWITCHED if took_over and kept else State.FOREIGN

    def _unswitched(self) -> State:
        """The live database is as before; is there a side database of ours?"""
        if self.incoming is None:
            return State.UNTOUCHED
        return State.PREPARED if is_side_of(self.context, self.plan, self.incoming, INCOMING) else State.FOREIGN

    def mismatch_message(self, verb: str) -> str:
        """The message for a reality that does not fit."""
        shown = {
            self.plan.name: self.live,
            self.names.incoming: self.incoming,
            self.names.previous: self.previous,
            self.names.rejected: self.rejected,
        }
        found = ", ".join(f"{name} has OID {row.oid}" if row else f"there is no {name}" for name, row in shown.items())
        return (
            f"Database {self.plan.name} can't be {verb}: it was planned with OID {self.plan.facts['old_oid']}, but now "
            f"{found}. Somebody else changed it meanwhile; compare, and rename by hand what should be live."
        )


@contextmanager
def planned_session(server: Server, plan: Plan) -> Iterator[Session]:
    """A session on the maintenance database of the very cluster that was planned for.

    :raises StateConflict: when another cluster answers there now.
    """
    with server.connect() as session:
        system = system_identifier(session, server.where)
        if system != plan.facts["system"]:
            raise StateConflict(
                f"The cluster at {server.where} is not the one that the plan was made for (system identifier "
                f"{system} instead of {plan.facts['system']})."
            )
        yield session
