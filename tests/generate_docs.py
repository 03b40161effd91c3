# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the documents that are made from code; tests/unit/plugin_utils/_report/test_report.py compares them."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.checklist import checklist_document  # noqa: E402

(ROOT / "docs" / "rollback_checklist.md").write_text(checklist_document(), encoding="utf-8")
