# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Between Ansible and the engine: parameters in, result and diff out, and the only ``fail_json``."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, os_error_message
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import secrets_in
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import shown
from ansible_collections.lastgood.rollback.plugins.module_utils._base.text import visible
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

#: Options of every component module; documented in the fragment ``transaction``.
COMMON_SPEC: dict[str, Any] = {
    "transaction": {"type": "str"},
    "state_dir": {"type": "path", "default": "/var/lib/lastgood"},
}
#: Characters of a secret that Ansible is to mask.
_SHORTEST_SECRET = 4


def run_guarded(
    module: AnsibleModule, work: Callable[[], JsonObject], failed: Callable[[str], str] = lambda outcome: outcome
) -> NoReturn:
    """Do the work of a module and leave: with its result, or with one failure that a person can act on.

    :param failed: what is true in place of the outcome that an error is of itself.
    """
    try:
        with shown():
            result = work()
    except LastGoodError as error:
        module.fail_json(msg=visible(error.message), outcome=failed(error.outcome), **getattr(error, "facts", {}))
    except OSError as error:
        module.fail_json(
            msg=visible(os_error_message(error)), outcome=failed("undone"), exception=traceback.format_exc()
        )
    except Exception as error:  # noqa: BLE001 - the outermost edge: the traceback is kept
        message = f"Unexpected {error.__class__.__name__}: {error}"
        module.fail_json(msg=visible(message), outcome=failed("undone"), exception=traceback.format_exc())
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(**result)


def nothing_touched(outcome: str) -> str:
    """For `run_guarded`: where there is nothing that could be taken back."""
    return "refused" if outcome == "undone" else outcome


def hide_only(module: AnsibleModule, option: Any) -> None:
    """Leave an option that is ``no_log`` out of what is shown of the call, and nothing of a result for its sake."""
    if isinstance(option, Mapping):
        for each in option.values():
            hide_only(module, each)
    elif isinstance(option, (list, tuple)):
        for each in option:
            hide_only(module, each)
    else:
        module.no_log_values.discard(str(option))


def hide_secrets_of(module: AnsibleModule, commands: Sequence[Sequence[str]]) -> None:
    """Let Ansible mask the secrets among the words of commands that are ``no_log``, and show the other words.

    :param commands: argument lists; a very short secret would blot out half of a result, and is left.
    """
    secrets = {secret for command in commands for secret in secrets_in(command)}
    module.no_log_values.difference_update({str(word) for command in commands for word in command} - secrets)
    module.no_log_values.update(secret for secret in secrets if len(secret) >= _SHORTEST_SECRET)
