#!/usr/bin/env bash
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Install Chromium, which the tests of the report's page drive, where there is none.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
    if type -P "$name" >/dev/null; then
        exit 0
    fi
done

# shellcheck source=tests/as_root.sh
if ! source "$(dirname "$0")/as_root.sh"; then
    echo "No Chromium here, and no apt to install it with: the tests of the report's page need one on the PATH." >&2
    exit 1
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium
