# Copyright: (c) 2026, the lastgood.rollback authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The decision protocol as a small explicit-state model, and what explores it."""
