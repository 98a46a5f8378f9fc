"""A folder that holds mail as people keep it: good, odd, and no mail at all."""

import os

from tests.nlp_transfer.outlook_files import outlook_message

SEPARATOR = b"From ann@example.org Mon Jun  3 10:15:00 2024\n"
ODD_MAILS = {
    b"bom.eml": b"\xef\xbb\xbf\nSubject: bom\n\nThe pump has stopped.",
    b"caf\xe9.eml": b"Subject: name\n\nThe pump has stopped.",
    b"charset.eml": b"Subject: charset\nContent-Type: text/plain; charset=hex\n\nThe pump stopped.",
    b"letter.MSG": outlook_message("outlook", "The pump has stopped."),
    b"long.eml": b"Subject: long\n\n" + b"The pump has stopped. " * 20_000,
    b"scan.eml": b"Subject: scan of a pump\nContent-Type: application/pdf\n\nJVBERi0",
}
UNREADABLE = {
    b"broken.eml": b"Subject: x\nContent-Transfer-Encoding: base64\n\nQUJDR\n",
    b"empty.eml": b"",
    b"headless.eml": b"Call me.",
    b"fake.mbox": b"Dear all,\n",
    b"notes.txt": b"Call me.",
}
NOT_READ = {*UNREADABLE, b"dead.eml", b"fifo.eml"}
"""What must be told of, by name."""


def write_odd_mail(folder):
    """Write it, and return how many messages are in it that can be read."""
    (folder / "folder.eml").mkdir(parents=True)
    (folder / "folder.eml" / "a.eml").write_bytes(b"Subject: folder\n\nThe pump has stopped.")
    (folder / "again").symlink_to(folder)
    for name, content in (ODD_MAILS | UNREADABLE).items():
        (folder / os.fsdecode(name)).write_bytes(content)
    for name in ("inbox.mbox", "Sent"):
        mail = SEPARATOR + b"Subject: mbox\n\nThe pump has stopped.\n\n"
        (folder / name).write_bytes(mail * 2)
    (folder / "dead.eml").symlink_to("nowhere")
    os.mkfifo(folder / "fifo.eml")
    (folder / ".DS_Store").write_bytes(b"x")
    return len(ODD_MAILS) + 1 + 4
