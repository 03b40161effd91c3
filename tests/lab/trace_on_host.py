# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a lab host as root: does the calls of a trace, one JSON line each, with the real engine and real files.

trace_on_host.py TOP TRANSACTION NAME HOSTS   (below TOP: the collection, and what this makes)
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(sys.argv[1])
sys.path.insert(0, str(TOP))

from ansible_collections.lastgood.rollback.plugins.module_utils._components.files.component import Files  # noqa: E402
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import component_class  # noqa: E402
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.host_components import make_component  # noqa: E402
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import Header  # noqa: E402
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.transaction import Transaction  # noqa: E402
from engine_calls import call, snapshot  # noqa: E402


class TraceHost:
    """This machine in a trace: two files stand for its databases, and a checkout for everything else."""

    def __init__(self, transaction: str, name: str, hosts: tuple[str, ...]) -> None:
        self.id, self.name, self.hosts, self.databases = transaction, name, hosts, Files.kind
        self.state_dir = TOP / "state" / transaction  # of its own: traces end with open transactions, which are locks
        self.live = TOP / "live" / transaction
        for word in ("old", "new"):
            for number in "12":
                file = (self.live if word == "old" else TOP / "backup") / number
                if not file.exists():
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(word)
        self.tree = self.live / "checkout"
        if not self.tree.exists():
            self._git("init", "--quiet", str(self.tree))
            for word in ("new", "old"):
                (self.tree / "word").write_text(word)
                self._git("-C", str(self.tree), "add", "word")
                self._git("-C", str(self.tree), "commit", "--quiet", "-m", word)

    @staticmethod
    def _git(*words: str) -> None:
        who = ("-c", "user.name=Trace", "-c", "user.email=trace@example.org")
        subprocess.run(["git", *who, *words], check=True)

    def transaction(self) -> Transaction:
        """As a new module call sees it."""
        return Transaction(self.state_dir, self.id, component_class)

    def begin(self) -> bool:
        """Begin, with the first of the hosts deciding; far too patient for a timer to fire by itself."""
        first, *_rest = self.hosts
        header = Header(self.id, "trace", self.name, self.hosts, first, "trace", time.time(), sys.executable, 100_000)
        return self.transaction().begin(header)

    def prepare(self) -> None:
        """Prepare the files and the checkout."""
        files = [{"src": str(TOP / "backup" / number), "dest": str(self.live / number)} for number in "12"]
        options_of = {
            "files": {"files": files, "allow_unverified": True},
            "code": {"path": str(self.tree), "to": "HEAD~1"},
        }
        for kind, options in options_of.items():
            component = make_component(component_class(kind), self.transaction().records, TOP / "workspace", {})
            self.transaction().prepare(component.plan(options, None), {})

    def data(self) -> list[str]:
        """What really stands in the files."""
        return sorted({(self.live / number).read_text() for number in "12"})

    def words(self) -> list[str]:
        """What really stands in the checkout."""
        return [(self.tree / "word").read_text()]


def serve(host: TraceHost) -> None:
    """Answer until nobody asks any more."""
    directory = host.transaction().records.directory
    for line in sys.stdin:
        options = json.loads(line)
        answer = ""
        if options["action"] == "deploy":
            for number in "12":
                (host.live / number).write_text("deployed")
        elif options["action"] == "silence":
            deadline = directory / "deadline"
            if deadline.exists():
                deadline.write_text(json.dumps({**json.loads(deadline.read_text()), "boottime": 0.0}))
        elif options["action"] != "look":
            answer = call(host, options["action"], options["shows"], options["known"])
        armed = (directory / "deadline").exists()
        there = {"words": host.words(), "data": host.data(), "armed": armed}
        sys.stdout.write(json.dumps({"answer": answer, **there, **snapshot(host)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(TraceHost(sys.argv[2], sys.argv[3], tuple(sys.argv[4].split(","))))
