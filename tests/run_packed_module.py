# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that runs one module out of what Ansible packs, as its wrapper does, and may be killed on the way.

Called with the payload, the module's full name, and the event before whose first record of a change it ends itself with
SIGKILL (empty: none); the module's arguments are its input. It names nothing of the collection but that module: payloads
of all releases are run by it, by each Python that a module supports.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys

payload, module, ends_at = sys.argv[1:]
# In place of the directory of this file: nothing but what was packed may be imported.
sys.path[0] = payload

from ansible.module_utils import basic  # noqa: E402

_write = os.write


def _write_or_die(handle: int, data: bytes) -> int:
    path = os.readlink(f"/proc/self/fd/{handle}")
    if path.endswith("/journal.jsonl") and json.loads(data).get("event") == ends_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return _write(handle, data)


if ends_at:
    os.write = _write_or_die  # type: ignore[assignment]
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
own = {"_module_fqn": module, "_modlib_path": payload}
runpy.run_module(module, init_globals=own, run_name="__main__", alter_sys=True)
