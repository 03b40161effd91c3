#!/usr/bin/env bash
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Install the headers of Debian's PostgreSQL server and a compiler, which the C functions of its regression database need.
set -euo pipefail

headers=$(/usr/lib/postgresql/15/bin/pg_config --includedir-server 2>/dev/null || true)
if [[ -e $headers/postgres.h ]] && type -P gcc >/dev/null; then
    exit 0
fi

# shellcheck source=tests/as_root.sh
if ! source "$(dirname "$0")/as_root.sh"; then
    echo "No headers of PostgreSQL 15's server here, and no apt: install postgresql-server-dev-15, gcc and libc6-dev." >&2
    exit 1
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq --no-install-recommends postgresql-server-dev-15 gcc libc6-dev
