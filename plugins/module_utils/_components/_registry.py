# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Which component stands behind each kind.

The imports are static: only what is imported here travels to a target.
"""

from __future__ import annotations

from ansible_collections.lastgood.rollback.plugins.module_utils._components._base import Component
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code import Code
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code_back import CodeBack
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database import Database
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database_back import DatabaseBack
from ansible_collections.lastgood.rollback.plugins.module_utils._components.files import Files
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages import Packages
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages_back import PackagesBack
from ansible_collections.lastgood.rollback.plugins.module_utils._components.schema import Schema
from ansible_collections.lastgood.rollback.plugins.module_utils._components.tables import Tables

#: A new kind is one file, one line here, one module.
COMPONENTS: dict[str, type[Component]] = {
    component.kind: component for component in (Database, Tables, Schema, Code, Files, Packages)
}

#: Kinds whose finished rollbacks are taken back by other steps than they were made by.
BACK: dict[str, type[Component]] = {component.kind: component for component in (DatabaseBack, CodeBack, PackagesBack)}
