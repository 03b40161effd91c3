#!/bin/sh
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Install what the lab needs from Debian's packages; nothing is done when it is all there.
set -eu

missing=""
for program in podman runc mmdebstrap ssh ssh-keygen nsenter ip iptables; do
    command -v "$program" > /dev/null || missing="$missing $program"
done
if [ -z "$missing" ]; then
    exit 0
fi
if ! command -v apt-get > /dev/null; then
    echo "The lab needs podman, runc, mmdebstrap, OpenSSH, iproute2 and iptables; missing:$missing" >&2
    exit 1
fi
echo "Installing what the lab needs; missing:$missing"
apt-get update --quiet=2
DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
    podman runc netavark aardvark-dns catatonit uidmap iptables iproute2 util-linux \
    mmdebstrap debian-archive-keyring openssh-client > /dev/null
