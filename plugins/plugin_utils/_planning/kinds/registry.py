# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) All kinds of components, in the order of plans and of display, and what is read of them together."""

from __future__ import annotations

from .base import DatabaseKind, Discard, Kind, ProjectKind
from .code import Code
from .database import Database
from .files import Files
from .migrations import Migrations
from .packages import Packages
from .schema import Schema
from .tables import Tables

#: A new kind is one file and one line here.
KINDS: tuple[Kind, ...] = (
    Database(),
    Tables(),
    Schema(),
    Migrations(),
    Code(),
    Files(),
    Packages(),
)

_OF_DATABASES = tuple(kind for kind in KINDS if isinstance(kind, DatabaseKind))
#: Those that are parts of projects.
PROJECT_KINDS = tuple(kind for kind in KINDS if isinstance(kind, ProjectKind))

#: What ``rollback_components`` may name, and what ``all`` stands for there.
CHOICES = tuple(kind.name for kind in KINDS if kind.can_be_chosen)
ALL = tuple(kind.name for kind in KINDS if kind.in_all)
#: What a component of a database may be called.
DATABASE_KINDS = tuple(kind.name for kind in _OF_DATABASES)
#: Ways to go back in a database, in the words of ``pg_restore``'s scope; only one at a time.
SCOPES = tuple(kind.name for kind in _OF_DATABASES if kind.can_be_chosen)
#: Of these, those that go back in every database, and in its schema; and those in tables, which are named.
IN_EVERY_DATABASE = tuple(kind.name for kind in _OF_DATABASES if kind.can_be_chosen and kind.in_every_database)
IN_TABLES = tuple(kind.name for kind in _OF_DATABASES if kind.can_be_chosen and not kind.in_every_database)
#: What a restore point calls a database, whichever way it goes back; also what a file is restored as.
DATABASE = Database.name
#: What has to fit the schema of a database that stays.
FITS_SCHEMA = tuple(kind.name for kind in PROJECT_KINDS if kind.fits_schema)
#: What can't be undone without what is kept of it.
UNDO_NEEDS_KEPT = tuple(kind.name for kind in KINDS if kind.undo_needs_kept)
#: What a section of a report is called.
TITLES = {kind.name: kind.title for kind in KINDS}

#: What the catalogue may have in a project besides what every project has.
PROJECT_KEYS = {key: field for kind in PROJECT_KINDS for key, field in kind.keys.items()}
#: How what is discarded, and what is counted of what is kept, is put into words.
DISCARDS: dict[str, Discard] = {subject: each for kind in KINDS for subject, each in kind.discards.items()}
COUNTS = {word: words for kind in KINDS for word, words in kind.counts.items()}
#: The types of what is put into these words; anything else is shown as it comes.
SHAPES = {f"{subject}?": each.shape for subject, each in DISCARDS.items()}
