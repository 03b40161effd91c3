#!/bin/sh
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs once in the image, as its last step: accounts, SSH, and nothing that a host would do on its own.
set -eu

useradd --create-home --shell /bin/bash deploy
useradd --create-home --shell /bin/bash blog
echo 'deploy ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/deploy
chmod 0440 /etc/sudoers.d/deploy
# Each host gets a key of its own.
rm -f /etc/ssh/ssh_host_*
printf '%s\n' 'PasswordAuthentication no' 'PermitRootLogin no' 'UseDNS no' 'MaxStartups 50:30:100' \
    > /etc/ssh/sshd_config.d/lab.conf
# A user may have a manager of its own (loginctl enable-linger), but a login does not start one. In a container nothing
# tells systemd that a group of processes is empty: it would wait for two minutes, and remember every login.
pam-auth-update --package --remove systemd
mkdir -p /etc/systemd/system/user@.service.d
printf '%s\n' '[Service]' 'TimeoutStopSec=2' > /etc/systemd/system/user@.service.d/lab.conf
# Only the database host has a server.
systemctl disable postgresql.service 2> /dev/null
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer dev-hugepages.mount systemd-udev-trigger.service systemd-udevd.service 2> /dev/null
mkdir -p /opt/lab
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/*
