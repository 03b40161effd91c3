# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""blog-core: the shared database and the workflow, for readers and for the five stages."""

from __future__ import annotations

from typing import Any

from config import Config, load
from database import check_schema, query
from flask import Flask, abort
from health import check_package, report

POST = "SELECT id, title, slug, summary, status, issue_number FROM post WHERE id = %s"
SECTIONS = "SELECT position, heading, body FROM post_section WHERE post_id = %s ORDER BY position"
WORKFLOW = "SELECT stage, count(*) AS posts FROM post_development GROUP BY stage ORDER BY stage"


def create_app(config: Config | None = None) -> Flask:
    """The application, with these settings or with those of the machine."""
    app = Flask(__name__)
    settings = config or load()
    app.secret_key = settings.secret_key

    @app.get("/api/health")
    def health() -> tuple[dict[str, Any], int]:
        checks = {
            "config": lambda: load().database_name,
            "database": lambda: check_schema(settings),
            "posts": lambda: len(read_sections(settings, 1)),
            "package": check_package,
        }
        return report(checks)

    @app.get("/workflow/")
    def workflow() -> dict[str, Any]:
        return {row["stage"]: row["posts"] for row in query(settings, WORKFLOW)}

    @app.get("/api/posts/<int:post_id>")
    def post(post_id: int) -> dict[str, Any]:
        found = query(settings, POST, post_id)
        if not found:
            abort(404)
        return {**found[0], "sections": read_sections(settings, post_id)}

    return app


def read_sections(config: Config, post_id: int) -> list[dict[str, Any]]:
    """A post's sections, in their order.

    :raises RuntimeError: when the post has none: every post has some.
    """
    sections = query(config, SECTIONS, post_id)
    if not sections:
        raise RuntimeError(f"post {post_id} has no sections")
    return sections
