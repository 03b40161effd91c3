# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This stage must find its work."""

from __future__ import annotations

import unittest

from app import STAGE, create_app


class Stage(unittest.TestCase):
    """What @@name@@ answers by itself, on the database that its settings name."""

    def test_posts_are_waiting(self) -> None:
        answer = create_app().test_client().get("/")
        self.assertEqual(answer.status_code, 200)
        self.assertEqual(answer.get_json()["stage"], STAGE)
        self.assertTrue(answer.get_json()["waiting"])


if __name__ == "__main__":
    unittest.main()
