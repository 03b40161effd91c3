# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of real rollbacks, received by a real mail server and a real webhook."""

from __future__ import annotations

import json
import smtplib
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.plugin_utils._messages.delivery import NotDelivered, Postman, compose
from ansible_collections.lastgood.rollback.plugins.plugin_utils._messages.later import (
    sending_command,
    sending_environment,
)
from ansible_collections.lastgood.rollback.plugins.plugin_utils._messages.spool import Message
from support.messengers import Certificate, Hook, Mailbox, free_port, mail_server, webhook_server
from support.small_stack import CONTACTS, HOSTS, SmallStack

EVERYBODY = ["development@example.com", "office@example.com", "operations@example.com"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallStack:
    """A stack with a restore point."""
    return SmallStack(tmp_path_factory.mktemp("stack"))


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A webhook."""
    with webhook_server() as found:
        yield found


def settings(port: int, **more: Any) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "sender": "rollback@example.com",
        "timeout": 5,
        **more,
    }


def everything_below(*directories: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for top in directories for path in top.rglob("*") if path.is_file()}


def ticks(stack: SmallStack) -> dict[str, str]:
    return {item["key"]: item["state"] for item in stack.report()["checklist"]}


def test_all_contacts_get_the_report_at_once_and_the_rest_later(small: SmallStack) -> None:
    mailbox, port = Mailbox(), free_port()
    values = {"rollback_contacts": CONTACTS, "notify_mail": settings(port), "notify_stakeholders": ["all@example.com"]}
    with mail_server(mailbox, port):
        done = small.roll_back(**values)
    assert done.returncode == 0, done.stdout
    assert mailbox.recipients() == EVERYBODY
    _to, mail = mailbox.mails[0]
    assert mail["Subject"] == "Rolled back: blog"
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert "Everything is at the restore point" in text.get_content()
    assert html is not None
    assert "<h1" in html.get_content()
    (page,) = mail.iter_attachments()
    assert page.get_filename() == f"{small.report()['id']}.html"
    assert "<svg" in page.get_content()
    assert ticks(small)["notify"] == "done"
    assert "3 sent, 8 due later" in done.stdout

    # The next day.
    with mail_server(mailbox, port):
        assert "changed=0" in small.play("notify_retry", notify_mail=settings(port)).stdout
        pull_forward(small)
        late = small.base / "late.json"
        late.write_text(json.dumps({"notify_mail": settings(port)}))
        options = {"inventory": [str(next(small.base.glob("inventory-*.yml")))], "extra_vars": [f"@{late}"]}
        # What the timer runs: nothing of this process's environment but what stands in its unit.
        done = subprocess.run(
            sending_command(small.logs / "spool", options),
            cwd="/",
            env={**sending_environment(), "ANSIBLE_HOME": str(small.base / "ansible")},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout
    assert small.spool() == []
    assert len(mailbox.mails) == 3 + 4 + 4
    (postmortem, *_more) = [mail for _tos, mail in mailbox.mails if mail["Subject"] == "Post-mortem: blog"]
    names = [part.get_filename() for part in postmortem.iter_attachments()]
    assert names == [f"{small.report()['id']}.postmortem.md", f"{small.report()['id']}.html"]
    assert "**?**" in next(iter(postmortem.iter_attachments())).get_content()


def pull_forward(stack: SmallStack) -> None:
    """Let everything that waits be due now."""
    for path in (stack.logs / "spool").glob("*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "due": 0}))


def test_a_server_that_is_down_fails_nothing_and_gets_the_mail_later(small: SmallStack) -> None:
    mailbox, port = Mailbox(), free_port()
    done = small.roll_back(rollback_contacts=CONTACTS, notify_mail=settings(port))
    assert done.returncode == 0, done.stdout
    assert "3 to be tried again" in " ".join(done.stdout.split())
    assert small.settings(1).read_text() == "MODE=good\n"
    assert ticks(small)["notify"] == "failed"
    failed = [each for each in small.report()["deliveries"] if each["failed"]]
    assert [each["to"] for each in failed] == EVERYBODY
    assert all(f"127.0.0.1:{port} can't be used" in each["detail"] for each in failed)

    pull_forward(small)
    mailbox.refused.add("development@example.com")
    with mail_server(mailbox, port):
        done = small.play("notify_retry", notify_mail=settings(port))
    assert done.returncode == 0, done.stdout
    assert "550" in done.stdout
    notices = [to for tos, mail in mailbox.mails if mail["Subject"].startswith("Rolled") for to in tos]
    assert sorted(notices) == ["office@example.com", "operations@example.com"]
    assert small.spool().count("notice") == 1

    cancelled = small.play("notify_retry", notify_mail=settings(port), notify_cancel=small.report()["id"])
    assert cancelled.returncode == 0, cancelled.stdout
    assert set(small.spool()) == {"notice"}
    for path in (small.logs / "spool").glob("*.json"):
        path.unlink()


def test_webhooks_are_told_in_their_own_words(small: SmallStack, hook: Hook) -> None:
    kinds = ("slack", "mattermost", "generic")
    hooks = [{"name": f"our {kind}", "kind": kind, "url": f"{hook.url}/{kind}"} for kind in kinds]
    done = small.roll_back(notify_webhooks=hooks)
    assert done.returncode == 0, done.stdout
    told = {path: body for path, _headers, body in hook.calls}
    assert set(told) == {"/slack", "/mattermost", "/generic"}
    assert "Rolled back: blog" in told["/slack"]["text"]
    assert told["/mattermost"]["text"].startswith("```\n")
    assert told["/generic"]["outcome"] == "rolled_back"
    assert told["/generic"]["id"] == small.report()["id"]

    hook.status = 503
    done = small.roll_back(notify_webhooks=hooks)
    assert done.returncode == 0, done.stdout
    assert {each["detail"].partition(";")[0] for each in small.report()["deliveries"] if each["failed"]} == {
        f"Webhook our {kind} answered 503." for kind in kinds
    }
    for path in (small.logs / "spool").glob("*.json"):
        path.unlink()


@pytest.mark.at_length  # unit/…/test_report.py: contacts that are refused
def test_contacts_that_are_wrong_are_told_and_fail_nothing(small: SmallStack) -> None:
    wrong = {**CONTACTS, "primary": {"name": "Operations\nBcc: eve@example.com", "email": "operations@example.com"}}
    done = small.roll_back(rollback_contacts=wrong, notify_mail=settings(free_port()))
    assert done.returncode == 0, done.stdout
    assert "rollback_contacts.primary.name" in " ".join(done.stdout.split())
    assert ticks(small)["notify"] == "failed"
    assert small.spool() == []


@contextmanager
def command_lines() -> Iterator[set[bytes]]:
    """What everybody on the machine can read of all processes, looked at again and again while the block runs."""
    seen: set[bytes] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(path.read_bytes())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def test_no_secret_is_seen_anywhere(small: SmallStack, hook: Hook, tmp_path: Path) -> None:
    secrets = {name: f"planted-{name}-7Q2xV9" for name in ("database", "mail", "url", "header", "setting")}
    mailbox, port = Mailbox(password=secrets["mail"]), free_port()
    projects = json.loads(json.dumps(small.variables["rollback_projects"]))
    projects["app1"]["test_environment"] = {"API_TOKEN": secrets["setting"]}
    certificate = Certificate.make(tmp_path / "server.pem")
    safe = {"security": "starttls", "ca_cert": str(certificate.chain), "username": "rollback"}
    with mail_server(mailbox, port, certificate), command_lines() as seen_by_all:
        done = small.roll_back(
            "-vvv",
            rollback_projects=projects,
            rollback_databases={"blog": {"host": "web1", "login_user": "blog", "login_password": secrets["database"]}},
            rollback_contacts=CONTACTS,
            notify_mail={**settings(port), **safe, "password": secrets["mail"]},
            notify_webhooks=[
                {"name": "generic", "url": f"{hook.url}/{secrets['url']}"}
                | {"headers": {"Authorization": f"Bearer {secrets['header']}"}},
                {"name": "down", "url": f"http://127.0.0.1:{free_port()}/{secrets['url']}"},
            ],
        )
    assert done.returncode == 0, done.stdout
    assert mailbox.recipients() == EVERYBODY
    ((path, headers, body),) = hook.calls
    assert path == f"/{secrets['url']}"
    assert headers["Authorization"] == f"Bearer {secrets['header']}"
    places = {
        "output": (done.stdout + done.stderr).encode(),
        "webhook": json.dumps(body).encode(),
        "process list": b"\n".join(seen_by_all),
        **{f"mail {number}": raw for number, raw in enumerate(mailbox.raw)},
        **{str(name): data for name, data in everything_below(small.logs, small.base / "state").items()},
    }
    assert len(places) > 20
    assert any(b"multi_rollback.yml" in line for line in seen_by_all)
    seen = [(where, name) for where, data in places.items() for name, text in secrets.items() if text.encode() in data]
    assert seen == []
    for name in (small.logs / "spool").glob("*.json"):
        name.unlink()


def test_the_report_can_be_left_on_a_host_and_its_log_is_in_order(small: SmallStack, tmp_path: Path) -> None:
    left = tmp_path / "left"
    for _twice in range(2):
        done = small.roll_back(report_host=HOSTS[1], report_host_dest=str(left))
        assert done.returncode == 0, done.stdout
    newest = small.report()["id"]
    assert (left / f"{newest}.html").read_bytes() == (small.logs / f"{newest}.html").read_bytes()
    log = (left / "rollback.log").read_text().splitlines()
    assert log == sorted(log, key=lambda line: line[:19])
    assert len(list((left / "log.d").glob("*.log"))) == 2
    assert log[-1] in (small.logs / "rollback.log").read_text().splitlines()


@pytest.mark.at_length  # test_final_tables.py: a table that fails fails nothing either
def test_a_report_that_can_not_be_written_fails_nothing(small: SmallStack, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file where the directory should be")
    done = small.roll_back(report_dest=str(taken))
    assert done.returncode == 0, done.stdout
    assert "not complete: The report can't be written" in " ".join(done.stdout.split())
    assert small.settings(2).read_text() == "MODE=good\n"


@pytest.mark.parametrize("field", ["subject", "sender_name"])
def test_a_line_break_injects_no_header(field: str) -> None:
    evil = "Rolled back\r\nBcc: eve@example.com\r\n\r\n<b>body</b>"
    message = Message("n", "t", "notice", "mail", "operations@example.com", evil if field == "subject" else "s", "text")
    mail = compose(message, "rollback@example.com", evil if field == "sender_name" else "Rollback")
    assert mail["Bcc"] is None
    assert set(mail.keys()) >= {"From", "To", "Subject", "Message-ID"}
    head = mail.as_bytes().partition(b"\n\n")[0]
    assert b"\nBcc:" not in head


def test_a_line_break_injects_no_recipient() -> None:
    mailbox, port = Mailbox(), free_port()
    postman = Postman(settings(port))
    with mail_server(mailbox, port):
        for to in ("operations@example.com\r\nRCPT TO:<eve@example.com>", "a@x, eve@example.com", "Operations <a@x>"):
            with pytest.raises(NotDelivered, match="is not one mail address"):
                postman.deliver(Message("n", "t", "notice", "mail", to, "s", "text"))
        postman.deliver(Message("n", "t", "notice", "mail", "operations@example.com", "s", "text"))
        postman.close()
    assert mailbox.recipients() == ["operations@example.com"]


def test_a_server_that_nobody_vouches_for_gets_nothing(tmp_path: Path) -> None:
    mailbox, port = Mailbox(password="right"), free_port()
    message = Message("n", "t", "notice", "mail", "operations@example.com", "s", "text")
    certificate = Certificate.make(tmp_path / "server.pem")
    safe = {**settings(port), "security": "starttls", "username": "rollback", "password": "right"}
    with mail_server(mailbox, port, certificate):
        with pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED"):
            Postman(safe).deliver(message)
        wrong = Postman({**safe, "ca_cert": str(certificate.chain), "password": "a wrong one"})
        with pytest.raises(NotDelivered, match="535") as raised:
            wrong.deliver(message)
    assert "a wrong one" not in str(raised.value)
    assert mailbox.mails == []


def test_a_server_without_tls_gets_nothing_unless_that_was_asked_for() -> None:
    mailbox, port = Mailbox(), free_port()
    postman = Postman({**settings(port), "security": "starttls"})
    with mail_server(mailbox, port), pytest.raises(NotDelivered, match="STARTTLS") as raised:
        postman.deliver(Message("n", "t", "notice", "mail", "operations@example.com", "s", "text"))
    assert isinstance(raised.value.__cause__, smtplib.SMTPNotSupportedError)
    assert mailbox.mails == []
