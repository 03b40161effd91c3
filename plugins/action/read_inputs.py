# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the inputs of a role with their types, and refuse what can't be one."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue import inputs as _inputs


class ActionModule(ActionBase):
    """See the module's documentation."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the inputs by name."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "role": {"type": "str", "required": True},
                "entry_point": {"type": "str", "default": "main"},
                "new_names": {"type": "list", "elements": "str", "default": []},
            }
        )
        inputs = _inputs.load_inputs()
        variables = task_vars or {}
        mistakes = self._unknown(inputs, variables)
        values, wrong = self._read(inputs[arguments["role"]], arguments["entry_point"], variables)
        mistakes += wrong + self._wrong_elsewhere(inputs, arguments["role"], variables)
        mistakes += [
            f"{name}: {values[name]!r} is not read as text everywhere: it looks like a number, a date or another kind of value. "
            "Choose another name, such as one with a word in front"
            for name in arguments["new_names"]
            if values.get(name) and not _inputs.stays_text(values[name])
        ]
        if mistakes:  # not raised: core 2.16 would add an exception to it that says nothing
            return {**result, "failed": True, "msg": _inputs.complaint(mistakes)}
        return {**result, "changed": False, **values}

    def _unknown(self, inputs: Mapping[str, _inputs.RoleInputs], variables: Mapping[str, Any]) -> list[str]:
        """Variables that begin like inputs and are none, from wherever they come."""
        known = {name for role in inputs.values() for name in role.options}
        others = _inputs.Input(_inputs.OTHER_VARIABLES, "list")
        patterns = _inputs.typed(others, self._templar.template(variables.get(_inputs.OTHER_VARIABLES)))
        unknown = _inputs.unknown_inputs(variables, known, patterns)
        return unknown + _inputs.results_given(load_extra_vars(self._loader))

    def _read(
        self, role: _inputs.RoleInputs, entry_point: str, variables: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[str]]:
        """What the inputs are, and what is wrong with them."""
        values: dict[str, Any] = {}
        mistakes: list[str] = []
        empty = {name for name, value in load_extra_vars(self._loader).items() if not _inputs.is_given(value)}
        empty &= role.options.keys()
        below = self._below(empty, variables) if empty else {}
        for name, option in role.options.items():
            try:
                value = self._value(option, below if name in empty else variables)
                if not option.kept and name in empty and _inputs.is_given(value):
                    raise _inputs.InputError(
                        f"{name}: an empty extra variable hides what the inventory has; leave it out"
                    )
                values[name] = _inputs.typed(option, value)
            except _inputs.InputError as error:
                mistakes.append(str(error))
                continue
            if name in role.required[entry_point] and not _inputs.is_given(value):
                mistakes.append(_inputs.missing(option))
        return {name: value for name, value in values.items() if role.options[name].kept}, mistakes

    def _wrong_elsewhere(
        self, inputs: Mapping[str, _inputs.RoleInputs], role: str, variables: Mapping[str, Any]
    ) -> list[str]:
        """What is wrong with other roles' inputs: some are played at the end, when it is too late to refuse.

        What is a template there may need what is only known then.
        """
        mistakes = []
        others = {name: option for each in inputs.values() for name, option in each.options.items()}
        for name in sorted(others.keys() - inputs[role].options.keys()):
            value = variables.get(name)
            try:
                _inputs.typed(others[name], None if self._templar.is_template(value) else value)
            except _inputs.InputError as error:
                mistakes.append(str(error))
        return mistakes

    def _value(self, option: _inputs.Input, variables: Mapping[str, Any]) -> Any:
        """What is given, or the role's default."""
        value = self._templar.template(variables.get(option.name))
        if _inputs.is_given(value):
            return value
        defaults = self._task._role.get_default_vars() if self._task._role else {}
        return self._templar.template(defaults.get(option.name, option.default))

    def _below(self, empty: Collection[str], variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """The variables as they were without extra variables that say nothing but would hide the inventory's."""
        hosts = variables["hostvars"]
        manager = copy.copy(hosts._variable_manager)
        manager._loader = self._loader  # a copy has none in core 2.16
        manager._extra_vars = {name: value for name, value in manager._extra_vars.items() if name not in empty}
        block = self._task._parent
        while not hasattr(block, "_play"):
            block = block._parent
        host = hosts._inventory.get_host(variables["inventory_hostname"])
        found: Mapping[str, Any] = manager.get_vars(play=block._play, host=host, task=self._task)
        return found
