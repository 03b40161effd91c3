# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Commands that are printed work as they are printed: with this play's inventory and what else it was run with.

Everything else writes ``ansible-playbook lastgood.rollback.<name> …``; what comes between is put in here, at the edge where
Ansible's command line is known.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible import constants, context
from ansible.errors import AnsibleError
from ansible.parsing.splitter import parse_kv

_ROOT = Path(__file__).absolute().parents[3]
_COMMAND = re.compile(r"ansible-playbook lastgood\.rollback\.([a-z_]+)(?! -i )\b")
#: Extra variables that decide what a command is about. Any other may be a secret, or what the next command is to change.
_NEEDED = ("rollback_stack", "rollback_state_dir", "restore_point_state_dir", "check_state_dir", "report_dest")


def completed(value: Any) -> Any:
    """Text, or JSON of texts, with every command of ours as it has to be typed."""
    words = shlex.join(play_options(context.CLIARGS))
    by_name = any(_is_ours(Path(path)) for path in constants.config.get_config_value("COLLECTIONS_PATHS"))
    return _completed(value, f" {words}" if words else "", by_name=by_name)


def _is_ours(path: Path) -> bool:
    return (path.expanduser() / "ansible_collections" / "lastgood" / "rollback" / "playbooks").is_dir()


def _completed(value: Any, words: str, *, by_name: bool) -> Any:
    if isinstance(value, str):
        return _COMMAND.sub(lambda found: _command(found, words, by_name=by_name), value)
    if isinstance(value, Mapping):
        return {key: _completed(each, words, by_name=by_name) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_completed(each, words, by_name=by_name) for each in value]
    return value


def _command(found: re.Match[str], words: str, *, by_name: bool) -> str:
    """One that was completed on its way here, in the message of a module for example, stays as it is."""
    if words and found.string.startswith(words, found.end()):
        return found[0]
    return f"ansible-playbook {_playbook(found[1], by_name=by_name)}{words}"


def _playbook(name: str, *, by_name: bool) -> str:
    """A collection that is not installed has no name that could be typed; its playbooks run as files."""
    return f"lastgood.rollback.{name}" if by_name else shlex.quote(str(_ROOT / "playbooks" / f"{name}.yml"))


def play_options(options: Mapping[str, Any]) -> list[str]:
    """How a play was run, as words of a command line.

    :param options: Ansible's command line. Of its extra variables only whole files are taken over, and those that say what a
        command is about: what else was said there may be a secret.
    """
    words = inventory_options(options)
    for name, option in (("remote_user", "-u"), ("private_key_file", "--private-key")):
        words += [option, str(options[name])] if options.get(name) and options[name] != _configured(name) else []
    for name, option in (("become", "-b"), ("become_ask_pass", "-K"), ("ask_pass", "-k"), ("ask_vault_pass", "-J")):
        words += [option] if options.get(name) and options[name] != _configured(name) else []
    for name, value in _needed(options.get("extra_vars") or ()):
        plain = isinstance(value, str) and re.fullmatch(r"[\w./:@+-]+", value)
        words += ["-e", f"{name}={value}" if plain else json.dumps({name: value})]
    return words


def inventory_options(options: Mapping[str, Any]) -> list[str]:
    """Where hosts and variables come from: inventories, vaults, files of extra variables."""
    words = []
    for source in options.get("inventory") or ():
        words += ["-i", str(source)]
    for path in options.get("vault_password_files") or ():
        words += ["--vault-password-file", str(path)]
    for identity in options.get("vault_ids") or ():
        words += ["--vault-id", str(identity)]
    for extra in options.get("extra_vars") or ():
        if str(extra).startswith("@"):
            words += ["-e", str(extra)]
    return words


def _configured(name: str) -> Any:
    """What a new command gets from the same configuration anyway."""
    return {
        "remote_user": constants.DEFAULT_REMOTE_USER,
        "private_key_file": constants.DEFAULT_PRIVATE_KEY_FILE,
        "become": constants.DEFAULT_BECOME,
    }.get(name)


def _needed(extras: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for extra in map(str, extras):
        try:
            given = yaml.safe_load(extra) if extra[:1] in "{[" else parse_kv(extra)
        except (yaml.YAMLError, AnsibleError):
            continue
        if isinstance(given, Mapping) and not extra.startswith("@"):
            yield from ((name, given[name]) for name in _NEEDED if name in given)
