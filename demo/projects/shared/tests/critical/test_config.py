# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings must load, and wrong ones must be refused."""

from __future__ import annotations

import unittest
from pathlib import Path

from config import ConfigError, load

GOOD = {
    "DATABASE_NAME": "blog",
    "DATABASE_HOST": "/run/postgresql",
    "DATABASE_USER": "blog",
    "CORE_URL": "http://127.0.0.1:5000",
    "SECRET_KEY": "only-for-this-test",
}
NOWHERE = Path("/nonexistent")


class Settings(unittest.TestCase):
    """The application's own loader."""

    def test_good_settings_load(self) -> None:
        self.assertEqual(load(GOOD, NOWHERE).database_name, "blog")

    def test_a_missing_setting_is_named(self) -> None:
        with self.assertRaisesRegex(ConfigError, "SECRET_KEY"):
            load({**GOOD, "SECRET_KEY": ""}, NOWHERE)

    def test_a_wrong_number_is_refused(self) -> None:
        with self.assertRaisesRegex(ConfigError, "ASSISTANT_TEMPERATURE"):
            load({**GOOD, "ASSISTANT_TEMPERATURE": "warm"}, NOWHERE)


if __name__ == "__main__":
    unittest.main()
