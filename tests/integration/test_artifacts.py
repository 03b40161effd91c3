# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a playbook leaves for job templates, handed to the next playbooks as AWX does: it changes nothing."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration.test_recover import modes, until_journalled
from support.small_stack import WANTED, SmallStack


class _Awx(yaml.SafeDumper):
    """Writes extra variables as AWX does: no text in them is a template."""


_Awx.add_representer(str, lambda dumper, text: dumper.represent_scalar("!unsafe", text, style="'"))


def left(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """All that a playbook left for the next jobs."""
    found: dict[str, Any] = json.loads(done.stdout.rpartition("\tRUN:")[2])
    return found


def handed(small: SmallStack, artifacts: dict[str, Any]) -> str:
    """A file of extra variables with them, as AWX writes it."""
    path = small.base / "artifacts.yml"
    path.write_text(yaml.dump(artifacts, Dumper=_Awx), encoding="utf-8")
    return f"@{path}"


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallStack, dict[str, Any], str]:
    """A rollback that was refused, and one that was killed in mid-switch; what the first left, and the second one's id."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANSIBLE_SHOW_CUSTOM_STATS", "1")
        patch.setenv("ANSIBLE_CALLBACK_RESULT_FORMAT", "json")
        small = SmallStack(tmp_path_factory.mktemp("artifacts"))
        refused = small.roll_back(rollback_point="release-9")
        assert refused.returncode != 0
        play = small.start("multi_rollback", **WANTED)
        directory: Path = until_journalled(small, "web1", "switched")
        small.kill(play)
        play.communicate()
    return small, left(refused), directory.name


def test_another_id_than_that_of_the_open_transaction_is_refused_with_the_one_that_is_open(
    interrupted: tuple[SmallStack, dict[str, Any], str],
) -> None:
    small, _left, identity = interrupted
    before = modes(small)
    done = small.play("recover", rollback_id="20261123T143000Z-blog-7f3a")
    assert done.returncode != 0, done.stdout
    words = " ".join(done.stdout.split())
    assert "20261123T143000Z-blog-7f3a is not open" in words
    assert re.search(rf"ansible-playbook lastgood\.rollback\.recover -i \S+ .*-e rollback_id={identity}", words)
    assert modes(small) == before
    assert not list((small.base / "state").glob(f"*/transactions/{identity}/outcome.json"))


def test_what_each_playbook_leaves_changes_nothing_in_the_next(
    interrupted: tuple[SmallStack, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery after a refused rollback, the check, the rollback that it suggests, the check, a capture, the undo."""
    small, artifacts, identity = interrupted
    monkeypatch.setenv("ANSIBLE_SHOW_CUSTOM_STATS", "1")
    monkeypatch.setenv("ANSIBLE_CALLBACK_RESULT_FORMAT", "json")
    ended: list[tuple[str, int, str]] = []
    nodes: list[tuple[str, dict[str, Any]]] = [
        ("recover", {}),
        ("check", {}),
        ("multi_rollback", WANTED),
        ("recover", {}),
        ("check", {}),
        ("capture", {"restore_point_name": "after"}),
    ]
    for playbook, values in nodes:
        done = small.play(playbook, "-e", handed(small, artifacts), **values)
        if not ended:
            assert "Nothing to recover" not in done.stdout, "it looks for another transaction than the one that is open"
            assert modes(small) == ["MODE=broken", "MODE=broken"]
        now = left(done)
        assert set(now) == {"lastgood"}, done.stdout + done.stderr
        assert {"outcome", "id", "downtime_ms", "report", "suggestion"} <= set(now["lastgood"])
        ended.append((playbook, done.returncode, now["lastgood"]["outcome"]))
        if playbook == "multi_rollback":
            assert Path(now["lastgood"]["report"]) == small.reports("html")[-1]
            assert now["lastgood"]["suggestion"].startswith("ansible-playbook ")
            assert modes(small) == ["MODE=good", "MODE=good"]
        if len(ended) == 1:
            assert now["lastgood"]["id"] == identity
        artifacts = {**artifacts, **now}
    assert ended == [
        ("recover", 0, "recovered"),
        ("check", 2, "not_healthy"),
        ("multi_rollback", 0, "rolled_back"),
        ("recover", 0, "nothing_to_do"),
        ("check", 0, "healthy"),
        ("capture", 0, "captured"),
    ]
    assert (small.base / "state" / "web1" / "restore_points" / "after" / "good.json").exists()
