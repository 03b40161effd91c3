# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# To be sourced: sets as_root, the words before a command that needs root. Fails where nobody here may use apt.
as_root=()
if ((EUID)); then
    sudo --non-interactive true 2>/dev/null || return 1
    # shellcheck disable=SC2034 # whoever sources this uses it
    as_root=(sudo --non-interactive)
fi
type -P apt-get >/dev/null
