#!/bin/sh
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The lab's hosts and which project stands on which of them: written by the lab, since their number can be chosen.
cat "${LASTGOOD_LAB_DIR:-$(dirname "$0")/../../.cache/lab}/inventory.json"
