"""An mbox falls into its messages, whatever its writer puts between them."""

import mailbox
from email.message import EmailMessage

import pytest

from nlp_transfer.emails import iter_emails, read_emails
from staged_training import InputError

DATED = "From ann@example.org Mon Jun  3 10:15:00 2024"
TEXTS = ["The pump has stopped.", "It runs again.", "From here on all is well.\n\nFrom Ann"]


def separated(separator, gap="\n", end="\n"):
    mails = [
        f"{separator}\nReceived: by mail.example.org\nSubject: n{n}\n\n{text}\n"
        for n, text in enumerate(TEXTS)
    ]
    return gap.join(mails).replace("\n", end).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("gap", ["", "\n", "\n\n\n"])
@pytest.mark.parametrize(
    "separator",
    [
        DATED,
        "From - Mon Jun 03 10:15:00 2024",
        "From ???@??? Mon Jun 03 10:15:00 2024",
        "From MAILER-DAEMON Mon, 3 Jun 2024 10:15:00 +0200",
        "From ann@example.org 2024-06-03T10:15:00Z",
        "From ann@example.org 2024-06-03 10:15",
        "From Ann Lee <ann@example.org> 3 Jun 2024",
        "From ann@example.org 1717409700",
        "From MAILER-DAEMON",
        "From ann@example.org",
        "From ",
        "From",
    ],
)
def test_any_separator_parts_messages(separator, gap, end, tmp_path):
    for name in ("inbox.mbox", "Inbox"):
        path = tmp_path / name
        path.write_bytes(separated(separator, gap, end))
        emails = list(iter_emails(path))
        assert [email.subject for email in emails] == ["n0", "n1", "n2"]
        assert [email.body for email in emails] == TEXTS


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\n", b"\r\n \n", b"\xef\xbb\xbf\n"])
def test_a_mark_or_blank_lines_before_the_first_message_are_passed_over(start, tmp_path):
    (tmp_path / "inbox.mbox").write_bytes(start + separated(DATED))
    assert read_emails(tmp_path / "inbox.mbox").dataset["body"][:] == TEXTS


@pytest.mark.parametrize(
    "sentence",
    [
        "From my point of view:\nNote: all is well.",
        "\nFrom 10:15 to 11:45 on 3 June 2024 the pump is off.",
        "\nFrom 14:00 to 16:00\nPlace: room 3",
        "Cheers\nFrom Ann\nPS: the key is under the mat.",
        "\nFrom Ann\nE-mail: ann@example.org",
        "From: Ann\nTo: Bob\n\nA copy of a mail.",
        "\n>From the start it was loud.",
    ],
)
def test_a_sentence_that_begins_with_from_parts_nothing(sentence, tmp_path):
    mail = f"{DATED}\nSubject: x\n\nHello,\n{sentence}\n\n{DATED}\nSubject: y\n\nBye\n"
    (tmp_path / "inbox.mbox").write_text(mail)
    first, second = iter_emails(tmp_path / "inbox.mbox", keep_quotes=True)
    assert first.body == f"Hello,\n{sentence}".replace("\n>From", "\nFrom")
    assert second.body == "Bye"


def test_messages_are_those_of_the_standard_library(tmp_path):
    mbox = mailbox.mbox(tmp_path / "inbox.mbox")
    for number in range(5):
        message = EmailMessage()
        message["Subject"] = f"n{number}"
        message.set_content(f"From me, no. {number}\n\nFrom ann Mon Jun  3 10:15:00 2024\nx: y\n")
        mbox.add(message)
    mbox.flush()
    ours = [(email.subject, email.body) for email in iter_emails(tmp_path / "inbox.mbox")]
    theirs = [
        (message["Subject"], message.get_payload().replace(">From", "From").strip())
        for message in mailbox.mbox(tmp_path / "inbox.mbox")
    ]
    assert ours == theirs


def test_what_begins_with_no_separator_is_refused(tmp_path):
    for content in (b"Subject: x\n\nFrom \nSubject: y\n", b"From my point of view\nall is well\n"):
        (tmp_path / "inbox.mbox").write_bytes(content)
        with pytest.raises(InputError, match=r"inbox\.mbox: an mbox begins with a line such as"):
            list(iter_emails(tmp_path / "inbox.mbox"))
