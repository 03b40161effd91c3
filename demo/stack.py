# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole stack: built from nothing, looked at, and taken away without a trace."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection

import checkouts
import place as places
import postgres
import supervisor
from client import Answer, health, wait_until_healthy
from commands import MARK, DemoError, demo_user
from console import say, step, table
from place import Place
from processes import descendants, end_process, started_by
from programs import postgres_for, python_for


def build(posts: int) -> Place:
    """Build the stack in a new place and wait until all six projects are healthy.

    :param posts: how many posts the database gets.
    :raises DemoError: when something can't be built, or a service does not become healthy.
    """
    place = _find_a_place(posts)
    step(f"Building in {place.directory}, owned by {place.user.name}")
    postgres.start(place)
    version = postgres.psql(place, "SHOW server_version", user="postgres", database="postgres")
    step(f"PostgreSQL {version} runs, reached by a socket only ({place.socket_dir})")
    postgres.fill(place)
    step(f"Database {postgres.DATABASE} has {posts:,} posts with their sections and developments")
    checkouts.make(place)
    step(f"{len(place.projects)} git checkouts with history, settings and environments are there")
    supervisor.install_supervisor(place)
    supervisor.start(place)
    answers = wait_until_healthy(place)
    if any(answer.status != 200 for answer in answers.values()):
        show(place, answers)
        raise DemoError(f"Not every service became healthy; the logs are in {place.logs}")
    step("All six services are healthy")
    return place


def _find_a_place(posts: int) -> Place:
    user = demo_user()
    directory = places.make_directory(user)
    os.environ[MARK] = str(directory)
    place = Place(
        directory=directory,
        socket_dir=places.make_socket_directory(user),
        user=user,
        python="",
        postgres_bin="",
        posts=posts,
        projects=places.lay_out(directory),
    )
    # Before anything else, so that `down` finds all of it after an interruption at any later moment.
    place.write_facts()
    place = dataclasses.replace(place, python=python_for(user), postgres_bin=postgres_for(user, directory))
    place.write_facts()
    for path in (place.run_dir, place.logs):
        path.mkdir()
    place.give(place.run_dir, place.logs)
    return place


def take_away(place: Place) -> None:
    """End every process of the demo and remove every file of it.

    :raises DemoError: when a process can't be ended.
    """
    services = descendants(supervisor.processes(place) | postgres.processes(place))
    # First whatever an aborted run left at work: it might start again what is about to be stopped.
    _end(place, besides=services)
    supervisor.stop(place)
    postgres.stop(place)
    _end(place)
    places.remove(place)


def _end(place: Place, besides: Collection[int] = ()) -> None:
    for pid in sorted(started_by(place.directory) - set(besides)):
        end_process(pid, "A process of the demo")


def show(place: Place, answers: dict[str, Answer] | None = None) -> None:
    """Print a row for each service: port, commit, what supervisor and its health check say; then what is wrong."""
    answers = answers or health(place)
    states = supervisor.states(place)
    rows = []
    for project in place.projects:
        commit = checkouts.git(project, place.user, "log", "-1", "--format=%h %s").strip()
        status = answers[project.key].status or "no answer"
        rows.append((project.name, project.port, states.get(project.name, "?"), status, commit))
    table(("service", "port", "supervisor", "http", "commit"), rows)
    wrong = [(project.name, why) for project in place.projects for why in answers[project.key].why]
    if wrong:
        say()
        table(("service", "what its health report says"), wrong)
