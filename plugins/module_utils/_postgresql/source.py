# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What a database is restored from: an archive of a restore point, or one that the task names."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.paths import resolve
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .archive import Archive, read_archive, require_archive_checksum


@dataclass(frozen=True)
class Source:
    """What is to be restored: an archive of a restore point, or a named one.

    :param facts: what is known of the content from the capture; empty for a named archive.
    :param artefacts: checksums of a restore point's files.
    """

    label: str
    path: Path
    archive: Archive
    facts: JsonObject
    artefacts: Mapping[str, str]
    checksum: str | None
    schema_file: str | None

    @property
    def server_major(self) -> int:
        """The major version of the server that it was captured from; 0 when it does not say."""
        digits = self.archive.server.split(".")[0]
        return int(self.facts.get("server_version", 0)) // 10_000 or (int(digits) if digits.isdigit() else 0)

    def to_json(self) -> JsonObject:
        """What prepare needs of it."""
        return {
            "label": self.label,
            "path": str(self.path),
            "artefacts": dict(self.artefacts),
            "checksum": self.checksum,
            "schema_file": self.schema_file,
            "form": self.archive.form,
        }


def _require_readable(path: Path) -> None:
    """Refuse what is no file or directory: a pipe would be waited for.

    :raises Refused: also when there is nothing.
    """
    try:
        kind = resolve(path).found.st_mode
    except FileNotFoundError as error:
        raise Refused(f"Archive {path} can't be read: {path} does not exist.") from error
    except OSError as error:
        raise Refused(f"Archive {path} can't be read: {error.strerror}.") from error
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise Refused(f"Archive {path} can't be read: it is neither a file nor a directory.")


def captured_source(point: str, directory: Path, facts: JsonObject, artefacts: Mapping[str, str]) -> Source:
    """The archive of a restore point.

    :param point: the restore point's name.
    :param directory: where its files lie; each matched its checksum a moment ago.
    :param facts: what was found at the capture.
    :param artefacts: relative path → SHA-256, to be compared again right before a tool opens a file.
    """
    path, schema = directory / "archive", str(directory / "schema.sql")
    return Source(f"restore point {point}", path, read_archive(path), dict(facts), dict(artefacts), None, schema)


def named_source(options: Mapping[str, Any], run: CommandRunner | None = None) -> Source:
    """The file that the task names in ``source``, with its ``checksum``.

    :param run: starts what a file may be packed with, as an account without rights of ours.
    """
    if not options.get("source"):
        raise Refused(f"Database {options['name']}: name a restore_point or a source to go back to.")
    path, checksum = Path(str(options["source"])), options.get("checksum")
    if not path.is_absolute():
        path = Path(os.path.abspath(path))
    if not checksum and not options.get("allow_unverified"):
        raise Refused(
            f"Archive {path} has no checksum to be compared with: give checksum: sha256:…, or say allow_unverified: true. "
            "A changed archive can restore something else without any error, or run code."
        )
    _require_readable(path)
    if checksum:
        require_archive_checksum(path, str(checksum))
    return Source(f"archive {path}", path, read_archive(path, run), {}, {}, checksum, None)
