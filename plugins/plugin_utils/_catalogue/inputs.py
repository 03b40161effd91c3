# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The inputs of the roles, read with their types. Pure, but for the roles' own files.

What is typed on a command line, answered in a survey of AWX or written in an inventory arrives as text, as YAML makes of
it, or empty. Here it becomes what ``meta/argument_specs.yml`` of the role says, or is refused: nothing is guessed.

To add an input to a role: describe it in the role's ``meta/argument_specs.yml`` with its ``type``, give its default in
``defaults/main.yml``, and read it as ``__<role>_inputs.<name>``, which the action ``read_inputs`` registers at the beginning
of each task file that people start with. There is no other list. An option with ``no_log: true`` is checked at the
beginning but not kept: it may hold passwords, or templates that are for later; take it with the filter ``typed``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.yaml import yaml_load

from .fields import described

ROLES = Path(__file__).resolve().parents[3] / "roles"
#: What roles leave for whoever plays them; as an extra variable it would hide the true one.
RESULTS = frozenset({"check_health", "check_integrity", "check_verdict", "notify_result", "report_written"})
#: Where names of variables are listed that begin like ours and are another's.
OTHER_VARIABLES = "rollback_other_variables"

_PREFIXES = ("rollback_", "restore_point_", "check_", "report_", "notify_")
_NOT_GIVEN = ("", "null", "None")
_TRUE = ("true", "yes", "on", "y", "t", "1")
_FALSE = ("false", "no", "off", "n", "f", "0")
_MARKUP = re.compile(r"\b[A-Z]\(([^)]*)\)")


class InputError(ValueError):
    """One input can't be what it is; the message names it."""


@dataclass(frozen=True)
class Input:
    """One option of a role's argument specs.

    :param kind: ``type`` there; ``list`` has elements of `element_type`.
    :param kept: whether its value may be kept for the run.
    """

    name: str
    kind: str
    element_type: str = "str"
    choices: tuple[str, ...] = ()
    default: Any = None
    kept: bool = True
    description: str = ""


@dataclass(frozen=True)
class RoleInputs:
    """All that a role takes.

    :param options: of all entry points together: the flow is the same for several.
    :param required: entry point → what it can't do without.
    """

    options: Mapping[str, Input]
    required: Mapping[str, tuple[str, ...]]


@cache
def load_inputs(roles: Path = ROLES) -> dict[str, RoleInputs]:
    """The inputs of every role, from their argument specs."""
    found = {}
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        entries = yaml_load(path.read_text(encoding="utf-8"))["argument_specs"]
        options: dict[str, Input] = {}
        for entry in entries.values():
            for name, spec in entry.get("options", {}).items():
                options.setdefault(name, _input(name, spec))
        required = {
            entry: tuple(name for name, spec in body.get("options", {}).items() if spec.get("required"))
            for entry, body in entries.items()
        }
        found[path.parents[1].name] = RoleInputs(options, required)
    return found


def _input(name: str, spec: Mapping[str, Any]) -> Input:
    description = spec.get("description", "")
    text = " ".join(description) if isinstance(description, list) else description
    return Input(
        name,
        spec.get("type", "str"),
        spec.get("elements", "str"),
        tuple(spec.get("choices", ())),
        spec.get("default"),
        not spec.get("no_log", False),
        _MARKUP.sub(r"\1", text),
    )


def is_given(value: Any) -> bool:
    """Whether a value says anything: an empty answer, ``null`` and ``None`` say nothing."""
    return value is not None and not (isinstance(value, str) and value.strip() in _NOT_GIVEN)


def typed(option: Input, value: Any) -> Any:
    """A value as what it has to be; what is not given is empty, or None.

    :raises InputError: when it can't be that, with what it is.
    """
    if not is_given(value):
        return {"list": [], "dict": {}}.get(option.kind)
    result = _READERS[option.kind](option, value)
    for word in result if isinstance(result, list) else [result]:
        if option.choices and word not in option.choices:
            raise InputError(
                f"{option.name}: must be one of {', '.join(option.choices)}, not {described(word)}"
                f"{_suggested(str(word), option.choices)}"
            )
    return result


def unknown_inputs(names: Iterable[str], known: Collection[str], others: Iterable[str] = ()) -> list[str]:
    """What is wrong with variables that begin like ours and are none.

    :param names: of all variables there are.
    :param others: names and patterns of another's.
    """
    patterns = list(others)
    unknown = [
        name
        for name in sorted(names)
        if name.startswith(_PREFIXES)
        and name not in known
        and name not in RESULTS
        and not any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
    return [f"{name}: there is no such input{_suggested(name, known)}" for name in unknown]


def results_given(names: Iterable[str]) -> list[str]:
    """What is wrong with extra variables that are called like our results."""
    return [
        f"{name}: is a result of this collection, not an input; leave it out" for name in sorted(RESULTS & {*names})
    ]


def stays_text(name: str) -> bool:
    """Whether a name is text to everything that may read it: a name such as 1.10, 2026-11-23, no or null is not."""
    try:
        float(name)
    except ValueError:
        pass
    else:
        return False
    try:
        return is_given(name) and yaml.safe_load(name) == name
    except yaml.YAMLError:
        return False


def complaint(mistakes: Iterable[str]) -> str:
    """All mistakes as one message."""
    return "\n".join(
        ["Nothing was touched: the inputs can't be taken as they are.", *(f"  - {one}" for one in mistakes)]
    )


def missing(option: Input) -> str:
    """That an input has to be given."""
    return f"{option.name}: is not given. {option.description}"


def _suggested(word: str, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(word, sorted(known), 1)
    return f"; did you mean {match[0]}?" if match else ""


def _not_text(option: Input, value: Any) -> InputError:
    """YAML, or Ansible, has made something else of it: what was written is not known any more."""
    return InputError(
        f"{option.name}: arrived as {value}; quote it. It has to be text, and was read as {type_words(value)}: write "
        f"""-e '{{"{option.name}": "…"}}' on a command line, "…" in YAML, and '…' with its quotes in a survey of AWX"""
    )


def type_words(value: Any) -> str:
    """What a value is, for people."""
    kinds = ((bool, "true or false"), ((int, float), "a number"), (Mapping, "a mapping"), ((list, tuple), "a list"))
    return next((words for kind, words in kinds if isinstance(value, kind)), "a date or another kind of value")


def _text(option: Input, value: Any) -> str:
    if not isinstance(value, str):
        raise _not_text(option, value)
    text = str(value).strip()
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def _boolean(option: Input, value: Any) -> bool:
    word = str(value).strip().lower() if isinstance(value, (bool, int, str)) else ""
    if word not in (*_TRUE, *_FALSE):
        raise InputError(f"{option.name}: must be true or false, not {described(value)}")
    return word in _TRUE


def _integer(option: Input, value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[+-]?[0-9]+", text):
        raise InputError(f"{option.name}: must be a whole number, not {described(value)}")
    return int(text)


def _mapping(option: Input, value: Any) -> dict[str, Any]:
    found = _loaded(option, value) if isinstance(value, str) else value
    if not isinstance(found, Mapping):
        raise InputError(f"{option.name}: must be a mapping, not {type_words(found) if option.kept else 'what it is'}")
    return dict(found)


def _list(option: Input, value: Any) -> list[Any]:
    if option.element_type == "dict":
        return _mappings(option, value)
    items = _split(option, value) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple, set, frozenset)):
        raise _not_text(option, value)
    return [_text(option, item) for item in items if is_given(item)]


def _split(option: Input, value: str) -> list[Any]:
    """A text as a list: JSON, in which nothing but text is looked for, or names with commas or on lines of their own."""
    if not value.strip().startswith("["):
        return re.split(r"[,\n]", value)
    try:
        found = yaml.BaseLoader(str(value)).get_single_data()
    except yaml.YAMLError as error:
        raise InputError(f"{option.name}: is no list that can be read: {described(value)}") from error
    return list(found)


def _mappings(option: Input, value: Any) -> list[dict[str, Any]]:
    found = _loaded(option, value) if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or not all(isinstance(item, Mapping) for item in found):
        raise InputError(f"{option.name}: must be a list of mappings")
    return [dict(item) for item in found]


def _loaded(option: Input, value: str) -> Any:
    try:
        return yaml.safe_load(str(value))
    except yaml.YAMLError as error:
        raise InputError(f"{option.name}: is neither JSON nor YAML that can be read") from error


_READERS = {"str": _text, "path": _text, "bool": _boolean, "int": _integer, "list": _list, "dict": _mapping}
