# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both acts of the demo from end to end, looked at from outside."""

from __future__ import annotations

import os
import pwd
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.demo_site import DemoSite, demo_site

POSTS = "20000"
WRITTEN_SINCE = 250


def ordinary_user() -> pwd.struct_passwd | None:
    """Somebody without rights to become when we are root; ourselves (none) when we have none to begin with."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def ok(site: DemoSite, *words: str) -> str:
    """Run a step that must succeed."""
    status, said = site.run(*words)
    assert status == 0, said
    return said


def nothing_is_left(site: DemoSite, sockets: Path) -> None:
    assert site.processes() == []
    assert not site.directory.exists()
    assert not sockets.exists()
    assert list(site.home.iterdir()) == []
    assert list(site.temporary.iterdir()) == []


def test_both_acts_step_by_step_as_an_ordinary_user() -> None:
    with demo_site(ordinary_user()) as site:
        ok(site, "up", "--posts", POSTS)
        sockets = Path(site.facts["socket_dir"])
        ok(site, "capture")
        assert site.statuses() == {200}
        good = site.snapshot()

        ok(site, "break")
        assert 200 not in site.statuses()
        assert site.run("status")[0] == 1
        broken = site.snapshot()
        assert {name for name in good if good[name] == broken[name]} >= {"blog_images head", "blog_core .env"}
        assert {name for name in good if good[name] != broken[name]} == {
            *("alembic_version", "post", "post_development", "post_section", "columns"),
            *("blog_core head", "blog_structuring head", "blog_images changes"),
            *("blog_writing packages", "blog_publishing .env"),
        }

        status, said = site.run("undo")  # its checks fail after the switch
        assert status == 2, said
        assert "was undone on demo_core, demo_db, demo_stages" in said
        assert site.snapshot() == broken
        assert 200 not in site.statuses()

        said = ok(site, "rollback")
        assert site.snapshot() == good
        assert site.statuses() == {200}
        assert site.get("blog_core", "/workflow/") == 200
        assert f"{WRITTEN_SINCE} posts in database " in said
        assert "did not answer for" in said

        ok(site, "down")
        nothing_is_left(site, sockets)


@pytest.mark.at_length
def test_an_ordinary_user_can_run_all_of_it() -> None:
    """The same steps by one command."""
    with demo_site(ordinary_user()) as site:
        process = site.start("all")
        said, _none = process.communicate()
        assert process.returncode == 0, said
        assert "All done" in said
        nothing_is_left(site, Path(sockets_in(said)))


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_what_an_interrupted_run_left_is_removed(end: signal.Signals) -> None:
    with demo_site() as site:
        process = site.start("up", "--posts", POSTS)
        said = until(process.stdout.readline, "reached by a socket only") if process.stdout else ""
        sockets = Path(sockets_in(said))
        process.send_signal(end)
        rest, _none = process.communicate()
        if end == signal.SIGINT:
            assert process.returncode == 130
            assert "make demo-down" in rest, said
        ok(site, "down")
        nothing_is_left(site, sockets)


def sockets_in(said: str) -> str:
    """The directory of the sockets that the demo said it uses."""
    found = re.search(r"reached by a socket only \((.+)\)", said)
    assert found, said
    return found[1]


def until(read: Callable[[], str], words: str) -> str:
    """Read lines until one has these words."""
    lines = []
    while line := read():
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError(f"Never said {words!r}: {''.join(lines)}")
