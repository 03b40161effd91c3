# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inputs of the roles as tables: what comes from a command line, a survey or an inventory, and what it means."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.inputs import (
    RESULTS,
    Input,
    InputError,
    is_given,
    load_inputs,
    results_given,
    stays_text,
    typed,
    unknown_inputs,
)

ROOT = Path(__file__).resolve().parents[4]
INPUTS = load_inputs()
ALL = [(role, option) for role, inputs in INPUTS.items() for option in inputs.options.values()]
NAMES = sorted({option.name for _role, option in ALL})


def option(name: str) -> Input:
    return next(option for _role, option in ALL if option.name == name)


@pytest.mark.parametrize("nothing", ["", " ", "null", "None", None])
@pytest.mark.parametrize("name", NAMES)
def test_what_says_nothing_is_not_given(name: str, nothing: Any) -> None:
    assert not is_given(nothing)
    assert typed(option(name), nothing) == {"list": [], "dict": {}}.get(option(name).kind)


BOOLEANS = sorted({option.name for _role, option in ALL if option.kind == "bool"})


@pytest.mark.parametrize("no", [False, "false", "False", "no", "off", "0", 0, " false\n"])
@pytest.mark.parametrize("name", BOOLEANS)
def test_no_is_no_in_every_way_to_write_it(name: str, no: Any) -> None:
    assert typed(option(name), no) is False


@pytest.mark.parametrize("yes", [True, "true", "True", "yes", "on", "1", 1])
@pytest.mark.parametrize("name", BOOLEANS)
def test_yes_is_yes_in_every_way_to_write_it(name: str, yes: Any) -> None:
    assert typed(option(name), yes) is True


def test_the_booleans_are_found() -> None:
    """`false` has to equal the default of all but the one that sends what is due by a timer."""
    assert {name: option(name).default for name in BOOLEANS} == {
        "notify_schedule": True,
        "rollback_allow_schema_mismatch": False,
        "rollback_allow_unverified": False,
        "rollback_rehearse": False,
    }


@pytest.mark.parametrize("wrong", ["maybe", "falsch", 2, 1.0, [], {}, datetime.date(2026, 11, 23)])
def test_what_is_neither_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"^rollback_rehearse: must be true or false, not"):
        typed(option("rollback_rehearse"), wrong)


@pytest.mark.parametrize(
    "given", [["a", "b"], "a,b", "a, b", "a\nb", "a\nb\n", '["a", "b"]', "[a, b]", ("a", "b"), "a,,b,", [" a", "b", ""]]
)
@pytest.mark.parametrize(
    "name",
    ["rollback_only", "rollback_tables", "rollback_files", "rollback_accept_missing_hosts", "check_database_checks"],
)
def test_lists_come_in_every_way_to_write_them(name: str, given: Any) -> None:
    assert typed(option(name), given) == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("1.10", ["1.10"]),
        ("[1.10, 0012345]", ["1.10", "0012345"]),
        ('["1.10", "no"]', ["1.10", "no"]),
        ("0012345,9e10", ["0012345", "9e10"]),
        (["with, comma"], ["with, comma"]),
        ("[]", []),
    ],
)
def test_names_in_a_text_stay_as_they_are_written(given: Any, names: list[str]) -> None:
    assert typed(option("rollback_commits"), given) == names


def test_every_word_of_a_list_is_one_that_there_is() -> None:
    assert typed(option("rollback_accept"), "slots,no_undo") == ["slots", "no_undo"]
    with pytest.raises(InputError, match=r"^rollback_accept: must be one of .*, not 'no_und'; did you mean no_undo\?"):
        typed(option("rollback_accept"), "slots,no_und")


ARRIVED = [
    (1.1, "1.1"),
    (5349, "5349"),
    (True, "True"),
    (False, "False"),
    (datetime.date(2026, 11, 23), "2026-11-23"),
    (datetime.datetime(2026, 11, 23, 14, 30), "2026-11-23 14:30:00"),
]


@pytest.mark.parametrize(("value", "shown"), ARRIVED)
@pytest.mark.parametrize("name", sorted({option.name for _role, option in ALL if option.kind in ("str", "path")}))
def test_text_that_yaml_made_something_else_of_is_refused(name: str, value: Any, shown: str) -> None:
    with pytest.raises(InputError, match=rf"^{name}: arrived as {re.escape(shown)}; quote it\."):
        typed(option(name), value)


@pytest.mark.parametrize(("value", "shown"), ARRIVED)
def test_text_in_lists_that_yaml_made_something_else_of_is_refused(value: Any, shown: str) -> None:
    for given in (value, ["a", value]):
        with pytest.raises(InputError, match=rf"^rollback_commits: arrived as {re.escape(shown)}; quote it\."):
            typed(option("rollback_commits"), given)


def test_quotes_around_a_text_are_no_part_of_it() -> None:
    """So that "quote it" can be followed in a survey of AWX, where quotes are text as well."""
    assert typed(option("rollback_point"), "'1.10'") == "1.10"
    assert typed(option("rollback_point"), '"1.10"') == "1.10"
    assert typed(option("rollback_point"), "it's") == "it's"
    assert typed(option("rollback_only"), "'a'\n\"b\"") == ["a", "b"]


@pytest.mark.parametrize(("given", "number"), [(10, 10), ("10", 10), (" 10\n", 10), ("0", 0), ("+5", 5)])
def test_whole_numbers_come_as_text_too(given: Any, number: int) -> None:
    assert typed(option("rollback_lock_timeout"), given) == number


@pytest.mark.parametrize("wrong", [True, "10s", "1.5", 1.5, [], "ten"])
def test_what_is_no_whole_number_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"^rollback_lock_timeout: must be a whole number, not"):
        typed(option("rollback_lock_timeout"), wrong)


@pytest.mark.parametrize("given", [{"blog": {"a": "b"}}, '{"blog": {"a": "b"}}', "{blog: {a: b}}", "blog:\n  a: b"])
def test_mappings_come_as_text_too(given: Any) -> None:
    assert typed(option("rollback_renames"), given) == {"blog": {"a": "b"}}


@pytest.mark.parametrize("wrong", ["blog", ["blog"], 5, "{blog: ["])
def test_what_is_no_mapping_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"^rollback_renames: "):
        typed(option("rollback_renames"), wrong)


def test_a_secret_that_is_wrong_is_not_shown() -> None:
    for name in ("rollback_databases", "notify_mail", "check_databases", "notify_webhooks"):
        assert not option(name).kept
        with pytest.raises(InputError) as refused:
            typed(option(name), "p4ssw0rd")
        assert "p4ssw0rd" not in str(refused.value)


def test_lists_of_mappings_come_as_text_too() -> None:
    for given in ([{"url": "http://x"}], '[{"url": "http://x"}]'):
        assert typed(option("notify_webhooks"), given) == [{"url": "http://x"}]


def test_a_choice_that_there_is_not_is_refused_with_the_nearest() -> None:
    assert typed(option("rollback_orphans"), "keep_aside") == "keep_aside"
    with pytest.raises(InputError, match="did you mean keep_aside"):
        typed(option("rollback_orphans"), "keep-aside")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("rollback_compnents", "; did you mean rollback_components?"),
        ("rollback_tabels", "; did you mean rollback_tables?"),
        ("restore_point_nam", "; did you mean restore_point_name?"),
        ("check_timout", "; did you mean check_timeout?"),
        ("report_destination", "; did you mean report_dest?"),
        ("notify_webhook", "; did you mean notify_webhooks?"),
    ],
)
def test_what_is_no_input_is_named_with_the_nearest_that_is(name: str, hint: str) -> None:
    assert unknown_inputs([name, "lastgood", "ansible_user", "__rollback_plan"], NAMES) == [
        f"{name}: there is no such input{hint}"
    ]


def test_inputs_and_results_are_known_and_others_can_be_named() -> None:
    assert unknown_inputs([*NAMES, *RESULTS], NAMES) == []
    assert unknown_inputs(["check_mk_port", "check_mk_host"], NAMES, ["check_mk_*"]) == []
    assert results_given(["check_health", "rollback_point"]) == [
        "check_health: is a result of this collection, not an input; leave it out"
    ]


@pytest.mark.parametrize(
    "name", ["release-1.2.0", "20261123T143000Z-blog", "before_upgrade", "v1.10", "1.2.3", "2026-11-23-a", "a"]
)
def test_names_that_stay_text(name: str) -> None:
    assert stays_text(name)


@pytest.mark.parametrize(
    "name",
    ["1.10", "0012345", "42", "1e3", "0x1f", "1_000", "12:30:45", "2026-11-23", "no", "Yes", "on", "true", "null", "None", "~",
     "", ".inf", "nan", "infinity", "- a", "a: b", "[a]", "{a", "# a", "a #b"],
)  # fmt: skip
def test_names_that_something_would_read_as_another_kind_of_value(name: str) -> None:
    assert not stays_text(name)


def test_an_input_is_the_same_at_every_entry_point() -> None:
    """The flow reads what it needs whatever it was begun with."""
    shown = ("type", "elements", "choices", "no_log", "default")
    found: dict[str, set[str]] = {}
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            for name, spec in entry.get("options", {}).items():
                found.setdefault(name, set()).add(repr([spec.get(key) for key in shown]))
    assert {name: specs for name, specs in found.items() if len(specs) > 1} == {}


def test_the_defaults_of_a_role_are_those_that_its_argument_specs_name() -> None:
    wrong = []
    for role, inputs in INPUTS.items():
        defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8"))
        for each in inputs.options.values():
            if (
                each.default is not None
                and each.name.startswith(f"{role}_")
                and defaults.get(each.name) != each.default
            ):
                wrong.append(f"{each.name}: {defaults.get(each.name)!r} is not {each.default!r}")
    assert wrong == []


def test_roles_read_inputs_by_their_types() -> None:
    """A text ``false`` is true in a condition; only ``read_inputs`` and ``typed`` know what is meant."""
    raw = []
    typed_at_once = r"\w+( \| default\(.*?\))? \| lastgood\.rollback\.typed\('\w+'\)"
    allowed = re.compile(rf"^\s*new_names: .*|^\s*(- )?\w+:(?= |$)|-e '?\w+|{typed_at_once}")
    name = re.compile(rf"(?<![\w.'])({'|'.join(set(NAMES) - {'rollback_side_database'})})\b")
    for path in sorted(
        [*ROOT.glob("roles/*/tasks/**/*.yml"), *ROOT.glob("roles/*/vars/*.yml"), *ROOT.glob("playbooks/*.yml")]
    ):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.lstrip().startswith("#") and name.search(allowed.sub("", line)):
                raw.append(f"{path.relative_to(ROOT)}:{number} {line.strip()}")
    assert raw == []


def test_roles_are_played_without_ansibles_own_reading_of_their_inputs() -> None:
    """It would refuse what ``read_inputs`` can take, with kilobytes of argument specs as its message."""
    wrong = []
    for path in [*ROOT.glob("roles/*/tasks/**/*.yml"), *ROOT.glob("playbooks/*.yml")]:
        text = path.read_text(encoding="utf-8")
        if text.count("lastgood.rollback.") and re.search(r"^\s+- role: ", text, re.MULTILINE):
            wrong.append(str(path.relative_to(ROOT)))
        if len(re.findall(r"(?:include|import)_role:", text)) != text.count("rolespec_validate: false"):
            wrong.append(str(path.relative_to(ROOT)))
    assert wrong == []
