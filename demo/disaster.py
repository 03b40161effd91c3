# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong after the restore point: each thing as it happens in real life, and all of it on one day."""

from __future__ import annotations

from pathlib import Path

import postgres
import supervisor
from checkouts import commit_all, replace_in
from console import step
from packages import install
from place import Place

#: Left in a checkout by somebody in a hurry: neither may be lost in a rollback.
UNCOMMITTED = "# Check the captions of the harbour pictures before Monday."
UNTRACKED = ("notes-for-monday.md", "Ask the photographer about the harbour pictures.\n")
WRONG_PACKAGE = "mistune==0.8.4"


def strike(place: Place) -> None:
    """Break the stack, and restart its services so that it shows."""
    step("People write 250 posts more")
    step("A migration drops a column and cuts the summaries; its script damages a third of post_section")
    postgres.psql_file(place, "disaster")
    step("blog-core gets a commit that breaks its health check, blog-structuring one that keeps it from starting")
    _bad_commits(place)
    step("In blog-images somebody leaves an uncommitted edit and an untracked file")
    _leave_work(place)
    step(f"blog-writing gets {WRONG_PACKAGE}")
    _wrong_package(place)
    step("blog-publishing gets the .env of another machine")
    _wrong_settings(place)
    step("Everything is restarted")
    supervisor.restart(place)


def _bad_commits(place: Place) -> None:
    core = place.project("blog_core")
    replace_in(
        place,
        core,
        "app.py",
        '            "package": check_package,\n',
        '            "package": check_package,\n            "cache": app.extensions["cache"].ping,\n',
    )
    commit_all(core, place.user, "Report the cache in the health check", "2026-06-29")
    structuring = place.project("blog_structuring")
    replace_in(place, structuring, "app.py", "import json\n", "import json\nimport outline_parser\n")
    commit_all(structuring, place.user, "Read outlines with the new parser", "2026-06-29")


def _leave_work(place: Place) -> None:
    images = place.project("blog_images")
    replace_in(place, images, "app.py", 'STAGE = "images"\n', f'STAGE = "images"\n{UNCOMMITTED}\n')
    name, text = UNTRACKED
    notes = Path(images.path) / name
    notes.write_text(text, encoding="utf-8")
    place.give(notes)


def _wrong_package(place: Place) -> None:
    environment = Path(place.project("blog_writing").path) / ".venv"
    install(place, environment, WRONG_PACKAGE)
    place.give(environment.resolve())


def _wrong_settings(place: Place) -> None:
    publishing = place.project("blog_publishing")
    replace_in(place, publishing, ".env", f"DATABASE_NAME={postgres.DATABASE}\n", "DATABASE_NAME=blog_staging\n")
