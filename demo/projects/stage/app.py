# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""@@name@@: the stage "@@stage@@" of every post."""

from __future__ import annotations

import json
import urllib.request
from typing import Any
from urllib.error import HTTPError, URLError

from config import Config, load
from database import check_schema, query
from flask import Flask, abort
from health import check_package, report

STAGE = "@@stage@@"
WAITING = """
SELECT p.id, p.title, s.heading FROM post_development d
JOIN post p ON p.id = d.post_id
JOIN post_section s ON s.post_id = p.id AND s.position = 1
WHERE d.stage = %s ORDER BY p.id LIMIT 20
"""


def create_app(config: Config | None = None) -> Flask:
    """The application, with these settings or with those of the machine."""
    app = Flask(__name__)
    settings = config or load()
    app.secret_key = settings.secret_key

    @app.get("/api/health")
    def health() -> tuple[dict[str, Any], int]:
        checks = {
            "config": lambda: load().database_name,
            "database": lambda: f"{check_schema(settings)}, {len(query(settings, WAITING, STAGE))} posts waiting",
            "core": lambda: ask_core(settings, "/api/health")["version"],
            "package": check_package,
        }
        return report(checks)

    @app.get("/")
    def waiting() -> dict[str, Any]:
        return {"stage": STAGE, "waiting": query(settings, WAITING, STAGE)}

    @app.get("/posts/<int:post_id>")
    def post(post_id: int) -> dict[str, Any]:
        try:
            return {"stage": STAGE, "post": ask_core(settings, f"/api/posts/{post_id}")}
        except RuntimeError as error:
            abort(502, str(error))

    return app


def ask_core(config: Config, path: str) -> dict[str, Any]:
    """blog-core's answer.

    :raises RuntimeError: when it gives none, or not a good one.
    """
    try:
        with urllib.request.urlopen(config.core_url + path, timeout=3) as answer:
            body: dict[str, Any] = json.load(answer)
            return body
    except HTTPError as error:
        raise RuntimeError(f"blog-core answered {error.code}") from error
    except (URLError, OSError, ValueError) as error:
        raise RuntimeError("blog-core does not answer") from error
