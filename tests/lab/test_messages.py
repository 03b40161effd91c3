# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages that are due later: a lab host is the controller of a small rollback, and its systemd sends them."""

from __future__ import annotations

import importlib.metadata
import io
import json
import re
import shlex
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path
from typing import Any

import pytest
from lab_stack import ROOT, Stack, lab_is_up, wait_until

# Of the lab itself: the stack has made them importable.
import machines  # isort: skip
import reach  # isort: skip
from layout import Host  # isort: skip

TOP = "/opt/lab-messages"
MAIL_UNIT = "lab-mail.service"
#: More than what a playbook takes that has just queued its messages, and cutting the power after it.
STATUS_AFTER_S = 90
CONTACTS = {
    "primary": {"name": "Operations on call", "email": "operations@example.com"},
    "secondary": {"name": "Development on call", "email": "development@example.com"},
    "tertiary": {"name": "Project office", "email": "office@example.com"},
}
#: The rollback's own settings, as they stand in an inventory: the timer finds them there.
VARIABLES = {
    "ansible_connection": "local",
    "ansible_become": False,
    "ansible_python_interpreter": f"{TOP}/venv/bin/python",
    "rollback_stack": "notes",
    "rollback_state_dir": f"{TOP}/state",
    "rollback_contacts": CONTACTS,
    "rollback_projects": {
        "notes": {
            "group": "notes",
            "path": f"{TOP}/notes",
            "files": [".env"],
            "checks": {"commands": [["grep", "-q", "good", ".env"]]},
        }
    },
    "report_dest": f"{TOP}/logs",
    "notify_schedule": True,
    "notify_status_after": STATUS_AFTER_S,
    "notify_mail": {"host": "127.0.0.1", "port": 2525, "security": "none", "sender": "rollback@example.com"},
}
MAIL_SERVER = f"""\
[Service]
ExecStart={TOP}/venv/bin/python -m aiosmtpd -n -c aiosmtpd.handlers.Mailbox -l 127.0.0.1:2525 {TOP}/mail
[Install]
WantedBy=multi-user.target
"""
PREPARE = f"""\
mkdir {TOP}/notes && cd {TOP}/notes && echo MODE=good > .env && echo .env > .gitignore && git init -q . && git add .gitignore
git -c user.name=Notes -c user.email=notes@example.invalid commit -q -m first
systemctl daemon-reload && systemctl enable --quiet --now {MAIL_UNIT}
"""
CLEAN = f"""\
systemctl disable --quiet --now {MAIL_UNIT} 'lastgood-messages-*.timer' 2> /dev/null
rm -rf {TOP} /etc/systemd/system/{MAIL_UNIT} /etc/systemd/system/lastgood-messages-* && systemctl daemon-reload
"""


def needed(*names: str) -> Iterator[tuple[Path, str]]:
    """The files of packages of this environment, and of those that they need: where they are, and their place below."""
    seen: set[str] = set()
    left = list(names)
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system or Python
        if name in seen:
            continue
        seen.add(name)
        left += [re.split(r"[^\w.-]", options)[0] for options in found.requires or () if "extra ==" not in options]
        for file in found.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                yield Path(str(found.locate_file(file))), str(file)


def packed() -> bytes:
    """Ansible, the mail server, the collection, the inventory and the server's unit, as a tar archive."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    inventory = {"notes": {"hosts": {"localhost": VARIABLES}}}
    texts = {f"{TOP}/inventory.json": json.dumps(inventory), f"/etc/systemd/system/{MAIL_UNIT}": MAIL_SERVER}
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for path, place in needed("ansible-core", "aiosmtpd"):
                archive.add(path, f"{TOP}/venv/lib/python3.11/site-packages/{place}", recursive=False)
            for name in filter(None, listed.split("\0")):
                if not name.startswith(("tests/", "demo/", "docs/")):
                    archive.add(ROOT / name, f"{TOP}/main/{name}", recursive=False)
            for name, text in texts.items():
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        return stream.getvalue()


class Controller:
    """A lab host that runs the playbooks itself."""

    def __init__(self, stack: Stack, host: Host) -> None:
        self.stack, self.host = stack, host

    def on(self, command: str, stdin: bytes | None = None) -> str:
        """What a command prints that root runs there."""
        return reach.ssh(self.stack.lab, self.host, command, stdin=stdin)

    def play(self, playbook: str, **values: Any) -> str:
        """Run a playbook there to its end."""
        extra = shlex.quote(json.dumps(values))
        words = f"venv/bin/python -m ansible playbook main/playbooks/{playbook}.yml -i inventory.json -e {extra}"
        return self.on(f"cd {TOP} && ANSIBLE_CONFIG={TOP}/main/ansible.cfg LC_ALL=C.UTF-8 {words}")

    def mails(self) -> Counter[tuple[str, str]]:
        """How often who got a mail of which subject; the mail server keeps each in a file."""
        told = self.on(f"cd {TOP}/mail/new && for file in *; do [ ! -f $file ] || {{ cat $file; printf '\\f'; }}; done")
        mails = (message_from_string(text.lstrip()) for text in told.split("\f") if text.strip())
        return Counter((str(mail["To"]), str(mail["Subject"])) for mail in mails)

    def timers(self) -> str:
        """Units of the timer: files, links to them, and what systemd knows of."""
        known = "systemctl list-units --all --no-legend --plain 'lastgood-messages-*'"
        return self.on(f"find /etc/systemd/system -name 'lastgood-messages-*'; {known}")


@pytest.fixture(scope="module")
def controller() -> Iterator[Controller]:
    """The last application host, with Ansible, the collection, a mail server and a checkout that was captured."""
    with lab_is_up() as stack:
        found = Controller(stack, stack.lab.applications[-1])
        found.on(CLEAN)
        try:
            found.on("tar --extract --no-same-owner --directory /", packed())
            found.on(f"python3 -m venv --without-pip {TOP}/venv && {PREPARE}")
            found.play("capture", restore_point_name="good")
            yield found
        finally:
            found.on(CLEAN)


def test_systemd_sends_the_status_after_the_playbook_has_ended_and_the_power_was_off(controller: Controller) -> None:
    everybody = {contact["email"] for contact in CONTACTS.values()}
    controller.on(f"echo MODE=broken > {TOP}/notes/.env")
    said = controller.play("multi_rollback", rollback_point="last_good", rollback_components=["files"])
    assert controller.on(f"cat {TOP}/notes/.env") == "MODE=good"
    assert ".timer" in controller.timers(), said
    at_once = controller.mails()
    assert {to for to, subject in at_once if subject == "Rolled back: notes"} == everybody
    assert len(at_once) == len(everybody)

    machines.power_off(controller.stack.podman, controller.host)
    machines.power_on(controller.stack.podman, controller.host)
    reach.wait_for(controller.stack.lab, controller.host)
    wait_until(lambda: len(controller.mails()) == 2 * len(everybody))
    later = controller.mails() - at_once
    assert {to for to, _subject in later} == everybody
    assert {subject for _to, subject in later} == {"Status: notes rolled back"}
    # The post-mortem still waits, and so does the timer.
    assert ".timer" in controller.timers()

    (report,) = controller.on(f"cd {TOP}/logs && ls | grep -E '^[0-9TZ]+-notes-[0-9a-f]+\\.json$'").split()
    controller.play("notify_retry", notify_cancel=report.removesuffix(".json"))
    assert controller.timers() == ""
    assert set(controller.mails().values()) == {1}
    assert len(controller.mails()) == 2 * len(everybody)
