# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The report as a page and as Markdown. Whatever hosts say is text here: it is escaped by default, never by care."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.text import one_line, visible
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.kinds.registry import TITLES
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .checklist import WORDS
from .text import clock, clock_with_zone, log_lines, markdown
from .timeline import PHASES, downtime_window, drawing, duration, seconds


def render(name: str, report: Mapping[str, Any], templates: Path, now: float, **more: Any) -> str:
    """Render a template: ``.html`` escapes for HTML, ``.md`` for Markdown, anything else is plain text.

    :param name: the template's file, with ``.j2`` at its end.
    :param templates: the directory of it.
    :param now: seconds since the epoch.
    """
    kind = Path(name.removesuffix(".j2")).suffix
    environment = _environment(templates, autoescape=kind == ".html", finalize=_escaped if kind == ".md" else _shown)
    values = {**_common(report, now), **more}
    if name == "report.html.j2":
        css = (templates / "report.css").read_text(encoding="utf-8")
        values.update(_drawings(report), css=css)
    return environment.get_template(name).render(**values)


def _environment(templates: Path, **options: Any) -> Environment:
    environment = Environment(  # noqa: S701 - escaping goes by the kind of template: Markdown is not HTML
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    environment.filters.update(
        change=_change,
        clock=clock,
        clock_with_zone=clock_with_zone,
        code=lambda text: Markup(one_line(text)),  # noqa: S704 - in an indented block, Markdown has no marks
        count=_count,
        duration=duration,
        moment=_moment,
        seconds=seconds,
    )
    return environment


def _common(report: Mapping[str, Any], now: float) -> dict[str, Any]:
    return {"report": report, "now": now, "words": WORDS, "kinds": TITLES, "lines": log_lines(report["events"])}


def _drawings(report: Mapping[str, Any]) -> dict[str, Any]:
    timeline = report["timeline"]
    if not timeline:
        return {"whole": None, "zoom": None, "used_phases": []}
    window = downtime_window(timeline)
    used = {span["phase"] for host in timeline["hosts"] for span in host["phases"]}
    return {
        "whole": drawing(timeline, (timeline["start"], timeline["end"]), with_services=window is None),
        "zoom": drawing(timeline, window, with_services=True) if window else None,
        "used_phases": [phase for phase in PHASES if phase in used],
    }


def _shown(value: Any) -> Any:
    if isinstance(value, Markup) or value is None:
        return "" if value is None else value
    return visible(value) if isinstance(value, str) else value


def _escaped(value: Any) -> Any:
    if isinstance(value, Markup) or value is None:
        return "" if value is None else value
    return markdown(str(value))


def _count(rows: int | None) -> str:
    return "not known" if rows is None else f"{rows:,}"


def _change(row: Mapping[str, Any]) -> str:
    """What became of a table's rows, short enough for a column."""
    before, after = row["before"], row["after"]
    if before is None or after is None:
        return "not known"
    if before != after:
        return f"{after - before:+,}".replace("-", "\N{MINUS SIGN}")
    return "other content" if row["restored"] and row["differs"] else "none"


def _moment(created: str) -> str:
    """``2026-11-23 14:30 UTC`` of the time in a restore point."""
    return f"{created[:10]} {created[11:16]} UTC" if created[10:11] == "T" and created.endswith("Z") else created
