# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest: nothing is parsed before its checksum held, and no path in it leads outside."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import ChecksumMismatch, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.version import COLLECTION_VERSION
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.manifest import (
    Artefact,
    CapturedComponent,
    Good,
    Manifest,
    read_sealed,
    require_name,
    seal,
    stack_digest,
)

DIGEST = "ab" * 32


def make_manifest(**changes: Any) -> Manifest:
    """A manifest with one component."""
    component = CapturedComponent(
        kind="code",
        name="/srv/app",
        directory="code-0",
        facts={"commit": "1234"},
        artefacts={"a/b.txt": Artefact(3, DIGEST)},
    )
    values: dict[str, Any] = {
        "id": "00ff",
        "name": "before",
        "stack": "blog",
        "host": "web1",
        "created": "2026-11-23T14:30:00.000000Z",
        "collection": "0.1.0",
        "components": (component,),
        "moved": ("code:/srv/app changed",),
        "consistent": False,
    }
    return Manifest(**{**values, **changes})


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = make_manifest()
    digest = seal(tmp_path / "manifest.json", manifest.to_json())
    raw, found = read_sealed(tmp_path / "manifest.json")
    assert Manifest.from_json(raw) == manifest
    assert found == digest == hashlib.sha256((tmp_path / "manifest.json").read_bytes()).hexdigest()
    assert (tmp_path / "manifest.json.sha256").read_text() == f"{digest}  manifest.json\n"
    assert oct((tmp_path / "manifest.json").stat().st_mode & 0o777) == "0o600"
    assert (manifest.keys, manifest.bytes) == (("code:/srv/app",), 3)


def test_every_flipped_bit_of_a_manifest_is_found_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "manifest.json"
    seal(path, make_manifest().to_json())
    whole = path.read_bytes()

    def parse(*_args: object, **_options: object) -> None:
        raise AssertionError("parsed before the checksum held")

    monkeypatch.setattr(json, "loads", parse)
    for position in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(bytes(damaged))
        with pytest.raises(ChecksumMismatch, match="damaged or replaced"):
            read_sealed(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.with_name("manifest.json.sha256").unlink(),
        lambda path: path.with_name("manifest.json.sha256").write_text(""),
        lambda path: path.with_name("manifest.json.sha256").write_bytes(b"\xff\xfe"),
        lambda path: path.write_text(path.read_text()[:-10]),
        lambda path: path.write_text(""),
    ],
    ids=["manifest gone", "checksum gone", "checksum empty", "checksum not text", "cut off", "empty"],
)
def test_what_is_missing_or_cut_off_is_refused(tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / "manifest.json"
    seal(path, make_manifest().to_json())
    spoil(path)
    with pytest.raises(ChecksumMismatch, match=r"manifest\.json"):
        read_sealed(path)


@pytest.mark.parametrize("value", ["[]", "{", "3"])
def test_a_replaced_file_with_a_right_checksum_must_still_be_a_mapping(tmp_path: Path, value: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(value)
    path.with_name("manifest.json.sha256").write_text(hashlib.sha256(value.encode()).hexdigest())
    with pytest.raises(ChecksumMismatch, match="replaced"):
        read_sealed(path)


def test_a_newer_schema_is_refused_with_advice() -> None:
    raw = {**make_manifest().to_json(), "schema": 2}
    with pytest.raises(Refused, match="update the collection"):
        Manifest.from_json(raw)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "", ".", "./a", "a//b", "a/", "a\0b"], ids=repr)
def test_paths_that_lead_outside_are_refused(path: str) -> None:
    for place in ("artefacts", "directory"):
        raw = json.loads(json.dumps(make_manifest().to_json()))
        component = raw["components"][0]
        component[place] = {path: {"bytes": 1, "sha256": DIGEST}} if place == "artefacts" else path
        with pytest.raises(Refused, match="not one"):
            Manifest.from_json(raw)


@pytest.mark.parametrize(
    "change",
    [
        {"components": None},
        {"components": [{}]},
        {"components": ["x"]},
        {"stranger": 1},
        {"schema": None},
        {"schema": "1"},
        {"moved": None},
    ],
    ids=str,
)
def test_a_mapping_that_is_no_manifest_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="manifest"):
        Manifest.from_json({**make_manifest().to_json(), **change})


def test_an_artefact_needs_a_size_and_a_checksum() -> None:
    for entry in (
        {"bytes": 1},
        {"bytes": "1", "sha256": DIGEST},
        {"bytes": 1, "sha256": "x"},
        {"bytes": 1, "sha256": 3},
    ):
        raw = json.loads(json.dumps(make_manifest().to_json()))
        raw["components"][0]["artefacts"] = {"a": entry}
        with pytest.raises(Refused, match="not one"):
            Manifest.from_json(raw)


@pytest.mark.parametrize("name", ["a", "20261123T143000Z-blog", "A.b_c-d", "9" * 100])
def test_names_that_are_allowed(name: str) -> None:
    assert require_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "a/b", "a b", "a\n", "ä", "last_good", "9" * 101, "../x", "a\0"]
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(Refused, match="can't be the name"):
        require_name(name)


def test_the_digest_of_a_stack_depends_on_every_manifest_and_not_on_their_order() -> None:
    one = stack_digest({"a": "1", "b": "2"})
    assert one == stack_digest({"b": "2", "a": "1"})
    assert (
        len({one, stack_digest({"a": "2", "b": "1"}), stack_digest({"a": "1"}), stack_digest({"a": "1", "c": "2"})})
        == 4
    )


def test_a_record_of_being_good_that_is_not_one_is_refused() -> None:
    with pytest.raises(Refused, match=r"good\.json"):
        Good.from_json({"checks": [], "id": "x"})
    with pytest.raises(Refused, match=r"good\.json"):
        Good.from_json({})


def test_the_version_in_manifests_is_that_of_the_collection(root: Path) -> None:
    assert yaml.safe_load((root / "galaxy.yml").read_text())["version"] == COLLECTION_VERSION
