# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers must be able to read."""

from __future__ import annotations

import unittest

from app import create_app


class Posts(unittest.TestCase):
    """What blog-core answers, on the database that its settings name."""

    def setUp(self) -> None:
        self.client = create_app().test_client()

    def test_a_post_comes_with_its_sections_in_order(self) -> None:
        answer = self.client.get("/api/posts/1")
        self.assertEqual(answer.status_code, 200)
        positions = [section["position"] for section in answer.get_json()["sections"]]
        self.assertEqual(positions, list(range(1, len(positions) + 1)))

    def test_the_workflow_knows_every_stage(self) -> None:
        stages = self.client.get("/workflow/").get_json()
        self.assertLessEqual({"planning", "writing", "structuring", "images", "publishing"}, set(stages))

    def test_health(self) -> None:
        answer = self.client.get("/api/health")
        self.assertEqual(answer.get_json()["failing"], [])
        self.assertEqual(answer.status_code, 200)


if __name__ == "__main__":
    unittest.main()
