# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who does what in a rollback, and back to which restore point: tables of requests and what comes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import Stack
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.kinds.code import code_options
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.kinds.registry import ALL
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.plan import (
    LAST_GOOD,
    PlanRefused,
    Request,
    choose_point,
    make_plan,
    parse_kinds,
    passwords,
    with_point,
)
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.stack import read_stack

GROUPS = {
    "all": ["db1", "web1", "web2", "web3", "web4"],
    "core": ["web1"],
    "planning": ["web1", "web2"],
    "report": ["web3"],
    "plain": ["web4"],
}
CATALOGUE: dict[str, Any] = {
    "rollback_stack": "blog",
    "rollback_databases": {"blog": {"host": "db1", "login_password": "s3cret"}},
    "rollback_projects": {
        "core": {
            "group": "core",
            "path": "/srv/core",
            "packages": "/srv/core/.venv",
            "files": [".env"],
            "services": [{"name": "core"}],
        },
        "planning": {
            "group": "planning",
            "path": "/srv/planning",
            "requires": ["core"],
            "services": [{"name": "planning"}],
        },
        "report": {
            "group": "report",
            "path": "/srv/report",
            "requires": ["planning"],
            "services": [{"name": "report"}],
        },
        "plain": {"group": "plain", "path": "/srv/plain"},
    },
}


@pytest.fixture(scope="module")
def stack() -> Stack:
    return read_stack(CATALOGUE, GROUPS)


def plan(stack: Stack, kinds: str = "code,files,packages", **options: Any) -> dict[str, Any]:
    return make_plan(stack, Request("1-blog", LAST_GOOD, parse_kinds(kinds.split(",")), **options))


def test_a_project_says_how_long_its_git_may_take() -> None:
    projects = {
        **CATALOGUE["rollback_projects"],
        "plain": {**CATALOGUE["rollback_projects"]["plain"], "git_timeout": 6},
    }
    planned = plan(read_stack({**CATALOGUE, "rollback_projects": projects}, GROUPS))
    found = {part["name"]: part["git_timeout"] for each in planned["parts"].values() for part in each["projects"]}
    assert found == {"core": None, "planning": None, "report": None, "plain": 6}


def services(planned: dict[str, Any]) -> dict[str, list[list[str]]]:
    """Host → names of the services in each wave, where there are any."""
    waves = {
        host: [[service["name"] for service in wave] for wave in part["waves"]]
        for host, part in planned["parts"].items()
    }
    return {host: found for host, found in waves.items() if any(found)}


def test_the_plan_says_nothing_of_a_service_that_may_be_secret() -> None:
    """Hosts remember it, and it is shown."""
    service = {"name": "core", "manager": "process", "pid_file": "/run/core", "command": ["core", "--token", "tulip"]}
    core = {**CATALOGUE["rollback_projects"]["core"], "services": [{**service, "ready": {"command": ["ask", "rose"]}}]}
    found = read_stack({**CATALOGUE, "rollback_projects": {"core": core}}, GROUPS)
    assert plan(found)["parts"]["web1"]["waves"] == [[{"name": "core", "manager": "process"}]]


# -- kinds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "kinds"),
    [
        (["all"], ALL),
        (["tables", "code"], ("tables", "code")),
        (["packages", "code"], ("code", "packages")),
        (("files", "files"), ("files",)),
    ],
)
def test_kinds_are_read_and_ordered(raw: Any, kinds: tuple[str, ...]) -> None:
    assert parse_kinds(raw) == kinds


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (["data"], "'data' is none of database"),
        (["databse"], "did you mean 'database'"),
        (["databasecode"], "'databasecode' is none of"),
        (["code;files"], "'code;files' is none of"),
        (["all", "code"], "'all' is none of"),
        (["database", "tables"], "choose one of database and tables"),
        ([], "must be all, or a list"),
    ],
)
def test_a_wrong_kind_is_refused(raw: Any, said: str) -> None:
    with pytest.raises(PlanRefused) as refused:
        parse_kinds(raw)
    assert said in str(refused.value)


# -- who takes part ------------------------------------------------------------------------------------------------


def test_everything_but_the_database(stack: Stack) -> None:
    planned = plan(stack)
    assert planned["hosts"] == ["db1", "web1", "web2", "web3", "web4"]
    assert services(planned) == {
        "web1": [["core"], ["planning"], []],
        "web2": [[], ["planning"], []],
        "web3": [[], [], ["report"]],
    }
    assert planned["parts"]["web1"]["keys"] == [
        "code:/srv/core", "code:/srv/planning", "files:files", "packages:/srv/core/.venv",
    ]  # fmt: skip
    assert planned["parts"]["db1"]["databases"] == planned["parts"]["db1"]["keys"] == []
    assert planned["schema_only"] == {"blog": "db1"}


def test_a_project_with_those_that_need_it_stopped_around_it(stack: Stack) -> None:
    planned = plan(stack, only=("planning",))
    assert planned["hosts"] == ["db1", "web1", "web2", "web3"]
    assert services(planned) == {
        "web1": [[], ["planning"], []],
        "web2": [[], ["planning"], []],
        "web3": [[], [], ["report"]],
    }
    assert planned["parts"]["web3"]["projects"] == planned["parts"]["web3"]["keys"] == []
    assert [project["name"] for project in planned["parts"]["web1"]["projects"]] == ["planning"]
    assert planned["parts"]["web3"]["checked"] == ["report"]


def test_going_back_in_the_database_stops_all_who_use_it(stack: Stack) -> None:
    planned = plan(stack, "database")
    assert planned["parts"]["db1"]["keys"] == ["database:blog"]
    assert set(services(planned)) == {"web1", "web2", "web3"}
    assert all(part["projects"] == [] for part in planned["parts"].values())
    assert planned["schema_only"] == {}


@pytest.mark.parametrize(
    ("kinds", "code", "packages", "files"),
    [
        ("code", "/srv/core", None, []),
        ("packages", None, "/srv/core/.venv", []),
        ("files", None, None, [{"dest": "/srv/core/.env"}]),
    ],
)
def test_only_what_is_asked_for_is_put_back(
    stack: Stack, kinds: str, code: str | None, packages: str | None, files: list[Any]
) -> None:
    (project,) = plan(stack, kinds, only=("core",))["parts"]["web1"]["projects"]
    assert (project["code"], project["packages"], project["files"]) == (code, packages, files)


@pytest.mark.parametrize(("asked", "decides"), [(None, "db1"), ("web3", "web3"), ("db1", "db1")])
def test_the_host_that_decides_takes_part(stack: Stack, asked: str | None, decides: str) -> None:
    planned = plan(stack, only=("plain",), decision_host=asked)
    assert planned["decision_host"] == decides
    assert planned["hosts"] == sorted({"web4", decides})
    assert planned["parts"][decides] == {
        "databases": [],
        "projects": [],
        "checked": [],
        "waves": [[], [], []],
        "keys": [],
    }


@pytest.mark.parametrize(
    ("kinds", "only", "said"),
    [
        ("code", ("planing",), "'planing' is not a project of blog"),
        ("code", ("planing",), "did you mean 'planning'"),
        ("code", ("planing", "cor"), "'cor' is not a project"),
        ("packages", ("planning",), "blog has no packages to roll back"),
        ("files,packages", ("plain",), "blog has no files or packages to roll back"),
    ],
)
def test_nothing_to_roll_back_is_refused(stack: Stack, kinds: str, only: tuple[str, ...], said: str) -> None:
    with pytest.raises(PlanRefused) as refused:
        plan(stack, kinds, only=only)
    assert said in str(refused.value)


def test_a_stack_without_a_database_has_none_to_roll_back() -> None:
    bare = read_stack({**CATALOGUE, "rollback_databases": {}}, GROUPS)
    with pytest.raises(PlanRefused, match="blog has no database to roll back"):
        plan(bare, "database")


def test_a_plan_is_json_that_every_host_computes_alike_and_holds_no_secret(stack: Stack) -> None:
    text = json.dumps(plan(stack, "all"), sort_keys=True)
    assert text == json.dumps(plan(stack, "all"), sort_keys=True)
    assert "s3cret" not in text


def test_passwords_are_named_as_the_components_are() -> None:
    databases = {"blog": {"login_password": "s3cret"}, "shop": {"login_password": ""}, "peer": {}}
    secret = {"login_password": "s3cret"}
    found = passwords(databases, ["blog", "shop", "peer", "gone"])
    assert found == {f"{kind}:blog": secret for kind in ("database", "tables", "schema", "migrations")}


# -- which restore point -------------------------------------------------------------------------------------------

NEEDS = {"db1": ["database:blog"], "web1": ["code:/srv/core", "files:files"]}


def point(name: str = "monday", day: int = 1, **changed: Any) -> dict[str, Any]:
    """A good restore point as restore_point_info tells it."""
    return {
        "name": name,
        "created": f"2026-11-{day:02d}T03:00:00Z",
        "good": True,
        "good_digest": f"digest of {name}",
        "good_hosts": {"db1": "m", "web1": "m"},
        "manifest_sha256": "m",
        "components": ["database:blog", "code:/srv/core", "files:files", "packages:/srv/core/.venv"],
        "findings": [],
        **changed,
    }


def choose(db1: list[dict[str, Any]], web1: list[dict[str, Any]], name: str = LAST_GOOD) -> str:
    return str(choose_point(name, NEEDS, {"db1": db1, "web1": web1})["name"])


def test_last_good_is_the_newest_whatever_the_order_of_names() -> None:
    points = [point("a-newest", 9), point("z-oldest", 1), point("m", 5)]
    assert choose(points, points[::-1]) == "a-newest"


@pytest.mark.parametrize(
    "flaw",
    [
        {"good": False, "good_digest": None, "good_hosts": {}},
        {"findings": ["database/blog/dump: has another SHA-256"]},
        {"components": ["files:files"]},
        {"good_hosts": {"db1": "m", "web1": "another"}},
        {"good_digest": "another"},
    ],
    ids=["not good", "damaged", "without the component", "replaced since", "another of this name"],
)
def test_last_good_passes_over_what_one_host_can_not_use(flaw: dict[str, Any]) -> None:
    older = point("older", 1)
    assert choose([point("newer", 2), older], [point("newer", 2, **flaw), older]) == "older"


def test_last_good_passes_over_what_only_some_hosts_have() -> None:
    assert choose([point("newer", 2), point("older", 1)], [point("older", 1)]) == "older"


@pytest.mark.parametrize(
    ("db1", "web1", "name", "said"),
    [
        ([point()], [], "monday", "monday: web1 has no such restore point; was the host added later?"),
        ([point()], [point(findings=["dump: cut off"])], "monday", "monday: damaged on web1: dump: cut off."),
        ([point()], [point(good=False)], "monday", "never marked good on web1"),
        ([point()], [point(manifest_sha256="other")], "monday", "on web1 it is not the one that was marked good"),
        ([point()], [point(good_digest="other")], "monday", "the hosts hold different restore points of this name"),
        ([point()], [point(components=[])], "monday", "web1 captured no code:/srv/core, files:files"),
        ([point()], [point()], "tuesday", "'tuesday' does not exist on any host of the plan. There: monday."),
        ([], [], "tuesday", "There: none at all."),
        (
            [],
            [],
            LAST_GOOD,
            "There is no restore point on db1, web1: first run ansible-playbook lastgood.rollback.capture",
        ),
        ([point()], [], LAST_GOOD, "was the host added later?"),
    ],
)
def test_what_a_restore_point_lacks_is_said(
    db1: list[dict[str, Any]], web1: list[dict[str, Any]], name: str, said: str
) -> None:
    with pytest.raises(PlanRefused) as refused:
        choose(db1, web1, name)
    assert said in str(refused.value)


def test_all_that_is_lacking_is_said_at_once() -> None:
    with pytest.raises(PlanRefused) as refused:
        choose([point("b", 2, good=False), point("a", 1)], [])
    assert [reason.split(":")[0] for reason in refused.value.reasons] == [
        "b",
        "b",
        "a",
        "Nothing was touched. Choose another restore point, or capture one.",
    ]


def test_a_host_that_did_not_say_what_it_has_is_named() -> None:
    with pytest.raises(PlanRefused, match="web1 did not say"):
        choose_point(LAST_GOOD, NEEDS, {"db1": [point()]})


def test_only_hosts_that_need_something_are_asked(stack: Stack) -> None:
    planned = plan(stack, "files", only=("core",))
    told: dict[str, dict[str, Any]] = {
        "db1": {},
        "web1": {"__rollback_points": {"restore_points": [point(good_hosts={"web1": "m"})]}},
        "web2": {"__rollback_points": {"restore_points": []}},
    }
    chosen = with_point(planned, told)
    assert chosen["point"] == {"name": "monday", "created": "2026-11-01T03:00:00Z", "digest": "digest of monday"}
    assert planned["point"] is None


# -- a file in place of a restore point --------------------------------------------------------------------------------

FILE = {"path": "/backup/blog.dump", "checksum": "sha256:0", "allow_unverified": False}


def test_a_file_needs_no_restore_point_and_stops_everything(stack: Stack) -> None:
    planned = make_plan(stack, Request("1-blog", None, ("database",), source=FILE))
    assert planned["source"] == FILE
    assert not any(part["keys"] for part in planned["parts"].values())
    assert planned["parts"]["db1"]["databases"] == ["blog"]
    assert services(planned).keys() == {"web1", "web2", "web3"}
    assert with_point(planned, {}) == planned


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"point": LAST_GOOD, "kinds": ("database",)}, "Both a restore point"),
        ({"point": None, "kinds": ("database", "code")}, "A file holds a database"),
        ({"point": None, "kinds": ("database",), "database": "blig"}, "did you mean 'blog'"),
    ],
)
def test_a_file_that_does_not_fit_the_request_is_refused(stack: Stack, options: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanRefused, match=said):
        make_plan(stack, Request("1-blog", source=FILE, **options))


def test_of_several_databases_a_file_needs_the_one() -> None:
    two = {**CATALOGUE, "rollback_databases": {"blog": {"host": "db1"}, "shop": {"host": "db1"}}}
    several = read_stack(two, GROUPS)
    with pytest.raises(PlanRefused, match="blog, shop"):
        make_plan(several, Request("1-blog", None, ("database",), source=FILE))
    planned = make_plan(several, Request("1-blog", None, ("database",), source=FILE, database="shop"))
    assert planned["parts"]["db1"]["databases"] == ["shop"]


# -- some tables of a database -----------------------------------------------------------------------------------------


def test_tables_need_their_databases_restore_point_and_stop_everything(stack: Stack) -> None:
    planned = make_plan(stack, Request("1-blog", LAST_GOOD, ("tables",), tables=("post", "public.tag")))
    assert (planned["scope"], planned["tables"]) == ("tables", ["post", "public.tag"])
    assert planned["parts"]["db1"]["databases"] == ["blog"]
    assert planned["parts"]["db1"]["keys"] == ["database:blog"]
    assert services(planned).keys() == {"web1", "web2", "web3"}
    assert planned["schema_only"] == {}


def test_code_that_comes_with_tables_has_to_fit_the_schema_that_stays(stack: Stack) -> None:
    planned = make_plan(stack, Request("1-blog", LAST_GOOD, ("tables", "code"), tables=("post",)))
    assert planned["schema_only"] == {"blog": "db1"}


def test_tables_are_named_and_so_is_their_database(stack: Stack) -> None:
    with pytest.raises(PlanRefused, match=r"Which tables\?.*-e rollback_tables="):
        make_plan(stack, Request("1-blog", LAST_GOOD, ("tables",)))
    two = {**CATALOGUE, "rollback_databases": {"blog": {"host": "db1"}, "shop": {"host": "db1"}}}
    with pytest.raises(PlanRefused, match="blog, shop"):
        make_plan(read_stack(two, GROUPS), Request("1-blog", LAST_GOOD, ("tables",), tables=("post",)))


# -- code that goes back to something else than a restore point ----------------------------------------------------


def code_plan(stack: Stack, *, commits: Any = (), files: Any = (), to: Any = None, **options: Any) -> dict[str, Any]:
    options = {"kinds": ("code",), "only": ("core",), "point": None, **options}
    return make_plan(stack, Request("1-blog", code=code_options(commits, 1, files, to), **options))


@pytest.mark.parametrize(
    ("asked", "mode", "words"),
    [
        ({"commits": ["9b1c", "a..b"]}, "revert", "what was without 9b1c, a..b"),
        ({"files": ["app.py"], "to": "HEAD"}, "paths", "app.py"),
        ({"files": ["app.py"], "point": LAST_GOOD}, "paths", "app.py"),
        ({"to": "v1"}, "reset", ""),
    ],
)
def test_code_can_go_back_without_a_restore_point(stack: Stack, asked: dict[str, Any], mode: str, words: str) -> None:
    planned = code_plan(stack, **asked)
    assert (planned["code"]["mode"], planned["code"]["words"]) == (mode, words)
    pointless = asked.get("point") is None
    assert planned["parts"]["web1"]["keys"] == ([] if pointless else ["code:/srv/core"])
    assert planned["schema_only"] == {}
    assert [project["code"] for project in planned["parts"]["web1"]["projects"]] == ["/srv/core"]
    if pointless:
        assert with_point(planned, {}) == planned


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"commits": ["a"], "only": ()}, "are of one project's checkout: name it"),
        ({"commits": ["a"], "only": ("core", "plain")}, "are of one project's checkout: name it"),
        ({"files": ["a"], "to": "b", "kinds": ("code", "files")}, "rollback_files and rollback_to belong to code"),
        ({"commits": ["a"], "to": "b"}, "neither rollback_files, rollback_to nor rollback_point"),
        ({"commits": ["a"], "point": "then"}, "neither rollback_files, rollback_to nor rollback_point"),
        ({"to": "v1", "point": "then"}, "Both a commit"),
    ],
)
def test_what_does_not_go_together_for_code_is_refused(stack: Stack, asked: dict[str, Any], reason: str) -> None:
    with pytest.raises(PlanRefused, match=reason):
        code_plan(stack, **asked)


def test_nothing_asked_of_code_is_a_plain_plan(stack: Stack) -> None:
    assert code_options((), 1, (), None) is None
    assert plan(stack, "code")["code"] is None
