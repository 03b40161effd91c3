# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a real rollback, opened in a real browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from support.demo_site import ROOT
from support.rollback_stack import ALL, FAILING, RollbackStack
from support.small_stack import CONTACTS

#: Kept for people to look at.
ARTEFACTS = ROOT / ".cache" / "report"
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
SCHEMES = ("light", "dark")
#: Chromium asks nobody for anything by itself, and needs no rights.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's Chromium."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "tests/install_chromium.sh installs it"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield started
        started.close()


@pytest.fixture(scope="module")
def reports(captured_stack: RollbackStack) -> dict[str, Path]:
    """The pages of a rollback that was undone, and of one that succeeded."""
    found = {}
    logs = captured_stack.site.base / "reports"
    for outcome, values in (("undone", {"demo_acceptance": FAILING}), ("rolled_back", {})):
        captured_stack.damage()
        ended = captured_stack.play(
            "multi_rollback", **{**ALL, **values, "report_dest": str(logs), "rollback_contacts": CONTACTS}
        )
        assert ended.outcome == outcome, ended.said
        page = logs / f"{ended.artefacts['id']}.html"
        assert str(page) in ended.words
        found[outcome] = page
    return found


def told(page: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    return report


@pytest.fixture
def opened(browser: Browser) -> Iterator[Any]:
    """Opens a page, and sees to it that it asks nobody and complains of nothing."""
    complaints: list[str] = []
    pages: list[Page] = []

    def open_page(path: Path, size: tuple[int, int] = (1280, 900), scheme: str = "light", **more: Any) -> Page:
        width, height = size
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, **more)
        pages.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if asks(request.url, path) else None)
        page.goto(path.as_uri())
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def asks(url: str, path: Path) -> bool:
    """Whether a request is for anything but the page itself."""
    return url != path.as_uri() and not url.startswith("data:")


@pytest.mark.parametrize("outcome", ["rolled_back", "undone"])
def test_it_says_the_outcome_first(reports: Mapping[str, Path], opened: Any, outcome: str) -> None:
    page, report = opened(reports[outcome]), told(reports[outcome])
    heading = page.get_by_role("heading", level=1)
    assert heading.inner_text() == {"rolled_back": "Rolled back", "undone": "Undone"}[outcome]
    assert heading.bounding_box()["y"] < 300
    assert page.title() == f"{heading.inner_text()} · {report['id']}"
    assert page.locator(".checklist li").count() == 7
    marks = page.locator(".checklist li .state").all_inner_texts()
    assert marks == [item["state"].replace("_", " ").capitalize() for item in report["checklist"]]
    if outcome == "undone":
        assert "Checks failed" in page.locator(".callout").inner_text()
        assert page.locator("details[open] table").count() == 1
    else:
        assert page.locator(".callout").count() == 0
        assert "20" in page.locator(".facts").inner_text()


@pytest.mark.parametrize("outcome", ["rolled_back", "undone"])
def test_bars_are_drawn_at_the_journals_times(
    captured_stack: RollbackStack, reports: Mapping[str, Path], opened: Any, outcome: str
) -> None:
    page, report = opened(reports[outcome]), told(reports[outcome])
    svg = page.locator("figure svg").last
    start, end = (float(svg.get_attribute(f"data-{name}")) for name in ("start", "end"))
    box = svg.bounding_box()
    bars = {}
    for drawn in svg.locator("rect.down").all():
        name = drawn.locator("title").text_content().partition(" stood still")[0]
        place = drawn.bounding_box()
        left = start + (place["x"] - box["x"]) / box["width"] * (end - start)
        right = start + (place["x"] + place["width"] - box["x"]) / box["width"] * (end - start)
        bars.setdefault(name, []).append((left, right))
    pixel = (end - start) / box["width"]
    journals = journal_times(captured_stack, report["id"])
    assert bars.keys() == journals.keys()
    for name, (stopped, started) in journals.items():
        assert bars[name][0][0] == pytest.approx(stopped, abs=3 * pixel)
        assert bars[name][-1][1] == pytest.approx(started, abs=3 * pixel)
    shade = svg.locator("rect.shade").bounding_box()
    assert shade["width"] * pixel * 1000 == pytest.approx(report["downtime_ms"], abs=3000 * pixel)


def journal_times(stack: RollbackStack, identity: str) -> dict[str, tuple[float, float]]:
    """When each service first stopped and was last ready, read from the hosts' own files."""
    stops: dict[str, float] = {}
    starts: dict[str, float] = {}
    for path in stack.site.directory.glob(f"state/*/transactions/{identity}/journal.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["event"] == "stopped":
                stops = {**entry["facts"]["services"], **stops}
            elif entry["event"] == "started":
                starts.update(entry["facts"]["services"])
    return {name: (stops[name], starts[name]) for name in stops}


def test_the_table_says_what_the_drawing_shows(reports: Mapping[str, Path], opened: Any) -> None:
    page, report = opened(reports["rolled_back"]), told(reports["rolled_back"])
    page.get_by_text("The same as a table").click()
    rows = page.locator("details[open] tbody tr")
    spans = sum(len(host["phases"]) + len(host["services"]) for host in report["timeline"]["hosts"])
    assert rows.count() == spans


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("outcome", ["rolled_back", "undone"])
def test_everybody_can_read_it(reports: Mapping[str, Path], opened: Any, outcome: str, size: str, scheme: str) -> None:
    page = opened(reports[outcome], SIZES[size], scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    found = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found] == []
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = false })")
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{outcome}-{size}-{scheme}.png", full_page=True)


def test_it_can_be_printed(reports: Mapping[str, Path], opened: Any) -> None:
    page = opened(reports["rolled_back"], scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 29, 34)"
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    assert len(page.pdf(path=ARTEFACTS / "rolled_back.pdf")) > 10_000


def test_it_needs_no_javascript(reports: Mapping[str, Path], opened: Any) -> None:
    page = opened(reports["rolled_back"], java_script_enabled=False)
    assert page.get_by_role("heading", level=1).inner_text() == "Rolled back"
