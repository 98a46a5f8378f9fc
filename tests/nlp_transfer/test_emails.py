"""Mail of every kind and state becomes texts; what cannot be read is told, and stops nothing."""

import json
import mailbox
from email.message import EmailMessage
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nlp_transfer.emails import iter_emails, read_emails, read_labelled_texts, read_texts
from nlp_transfer.emails.body_text import html_to_text, visible, without_quotes
from nlp_transfer.emails.message import BrokenMessageError, parse_message
from staged_training import InputError

RAW_MAIL = Path(__file__).parents[1] / "data" / "raw_mail"
BROKEN = (
    b"Subject: half a part\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\nQUJDR\n"
)


def simple(text, subject="Hello"):
    message = EmailMessage()
    message["Subject"] = subject
    message.set_content(text)
    return message.as_bytes()


@pytest.mark.parametrize(
    ("name", "subject", "in_body"),
    [
        ("easy-ham-1-00993", "Re: Sorting", "Here is the little script"),  # multipart/mixed
        ("hard-ham-1-00240", "Espial TV Web Seminar Series - Reg", "SUBSCRIPTION INFORM"),  # base64
        ("spam-1-00252", "不看會後悔", "有一隻烏鴉整天就坐在樹上"),  # Big5, HTML only
        ("spam-1-00326", "未承諾広告※灼熱", "突然のメール失礼いたします"),  # ISO-2022-JP
        ("spam-1-00440", "NORTON SYSTEMWORKS", "ATTENTION: This is a MUST"),  # HTML in base64
        ("easy-ham-2-00495", "1 IIU admin request(s)", "has 1 request(s) waiting"),  # no charset
        ("spam-1-00208", "URGENT BUSINESS", "Although we have not met"),  # alternative, 8bit
        ("spam-2-01384", "It's Time to Invest", "investment objective"),  # quoted-printable
    ],
)
def test_real_mail_is_read(name, subject, in_body):
    (email,) = iter_emails(RAW_MAIL / f"{name}.eml")
    assert email.subject.startswith(subject)
    assert in_body in email.body
    assert "\ufffd" not in email.subject + email.body


def test_a_message_that_is_only_a_picture_has_its_subject():
    (email,) = iter_emails(RAW_MAIL / "spam-2-00216.eml")
    assert email.subject.startswith("nice foto")
    assert email.body == ""


def test_quotes_and_signatures_are_left_out_unless_asked_for():
    quoted = simple("Yes, at noon.\n\nOn Monday Ann wrote:\n> Can we meet?\n-- \nBob\n")
    assert parse_message(quoted).body == "Yes, at noon."
    assert "Can we meet?" in parse_message(quoted, keep_quotes=True).body
    assert without_quotes("> nothing but a quote") == "> nothing but a quote"


def test_html_becomes_what_a_reader_sees():
    html = """<html><head><title>no</title><style>p {}</style></head><body>
      <p>Call me <b>to</b>day</p><div>before&nbsp;noon</div><!-- no --><script>no()</script>
      <table><tr><td>a</td><td>b</td></tr></table><span style="display:none">no</span>"""
    assert html_to_text(html) == "Call me today\nbefore noon\na b"


@settings(max_examples=150)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_any_text_survives_a_message(text):
    line = " ".join(visible(text).split())
    assume(line)
    read = parse_message(simple(line), keep_quotes=True)
    assert " ".join(read.body.split()) == line


@settings(max_examples=300)
@given(
    st.binary(max_size=400), st.sampled_from([b"", b"Subject: x\n", b"Content-Type: text/html\n"])
)
def test_no_bytes_break_the_reader(data, header):
    try:
        content = parse_message(header + data)
    except BrokenMessageError:
        return
    (content.subject + content.body).encode()  # no lone surrogate


def test_mbox_maildir_and_folder_hold_the_same_messages(tmp_path):
    texts = [f"Message {i}\n\nFrom here on it goes on." for i in range(3)]
    mbox, maildir = mailbox.mbox(tmp_path / "inbox.mbox"), mailbox.Maildir(tmp_path / "Maildir")
    (tmp_path / "folder").mkdir()
    for i, text in enumerate(texts):
        mbox.add(simple(text))
        maildir.add(simple(text))
        (tmp_path / "folder" / f"{i}.eml").write_bytes(simple(text))
    mbox.flush()
    for source in ("inbox.mbox", "Maildir", "folder"):
        assert sorted(read_emails(tmp_path / source).dataset["body"]) == texts
    assert read_texts(tmp_path / "inbox.mbox").dataset["input"][2] == "inbox.mbox#3"
    assert read_texts(tmp_path / "inbox.mbox").dataset["text"][0] == f"Hello\n{texts[0]}"


def test_a_broken_message_among_good_ones_is_skipped_and_counted(tmp_path, caplog):
    (tmp_path / "a.eml").write_bytes(simple("good"))
    (tmp_path / "b.eml").write_bytes(BROKEN)
    reading = read_texts(tmp_path)
    assert reading.dataset["input"][:] == ["a.eml"]
    assert [(s.input, s.reason) for s in reading.skipped] == (
        [("b.eml", "has a base64 text that cannot be decoded")]
    )
    assert "1 of 2 messages skipped: b.eml" in caplog.text
    (tmp_path / "a.eml").unlink()
    with pytest.raises(InputError, match="no message could be read"):
        read_texts(tmp_path)


ROWS = pd.DataFrame(
    {"text": ["call now", "no\nhurry", "köln"], "label": ["urgent", "other", "other"]}
)


@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        ("csv", lambda path: ROWS.to_csv(path, index=False)),
        ("tsv", lambda path: ROWS.to_csv(path, index=False, sep="\t")),
        ("jsonl", lambda path: ROWS.to_json(path, orient="records", lines=True)),
        ("parquet", lambda path: ROWS.to_parquet(path)),
    ],
)
def test_tables_of_every_kind_hold_the_same_texts(tmp_path, suffix, write):
    path = tmp_path / f"mail.{suffix}"
    write(path)
    assert read_texts(path).dataset["text"][:] == ROWS["text"].tolist()
    assert read_texts(path).dataset["input"][1] == f"mail.{suffix}#2"
    assert read_texts(path, ["label", "text"]).dataset["text"][0] == "urgent\ncall now"


def test_labels_come_from_a_column_or_from_folders(tmp_path):
    for label, count in {"urgent": 2, "other": 3}.items():
        (tmp_path / "mail" / label).mkdir(parents=True)
        for i in range(count):
            (tmp_path / "mail" / label / f"{i}.eml").write_bytes(simple(f"{label} {i}"))
    assert sorted(read_labelled_texts(tmp_path / "mail").dataset["label"]) == (
        ["other"] * 3 + ["urgent"] * 2
    )
    (tmp_path / "t.csv").write_text("text,important\na,1\nb,0\nc,1\nd,0\n")
    assert read_labelled_texts(tmp_path / "t.csv", None, "important").dataset["label"][:] == (
        ["1", "0", "1", "0"]
    )


def test_what_cannot_be_seen_makes_no_labels_and_case_is_told(tmp_path, caplog):
    labels = ["high", "high ", "Urgent", "urgent", "\u00a0high", "urgent", "tr\u00e8s bas"]
    labels += ["Urgent", "tre\u0300s  bas"]
    pd.DataFrame({"text": list("abcdefghi"), "label": labels}).to_csv(tmp_path / "t.csv")
    read = read_labelled_texts(tmp_path / "t.csv").dataset["label"]
    assert sorted(set(read)) == ["Urgent", "high", "tr\u00e8s bas", "urgent"]
    assert "the labels 'Urgent' (2) and 'urgent' (2) are all but the same" in caplog.text
    caplog.clear()
    for folder in ("Spam", "spam", "ham "):
        (tmp_path / "mail" / folder).mkdir(parents=True)
        for i in range(2):
            (tmp_path / "mail" / folder / f"{i}.eml").write_bytes(simple(f"{folder} {i}"))
    read = read_labelled_texts(tmp_path / "mail").dataset["label"]
    assert sorted(set(read)) == ["Spam", "ham", "spam"]
    assert "the labels 'Spam' (2) and 'spam' (2)" in caplog.text


def test_the_example_of_excel_and_of_kaggle_are_read(tmp_path, caplog):
    rows = [("ham", "Grüße aus Köln"), ("spam", "Jetzt für 5 € läuft's"), ("ham", "schöne Tage")]
    rows += [("spam", "Müller, ruf zurück")]
    lines = "".join(f"{label};{text};;;\r\n" for label, text in [("v1", "v2"), *rows])
    (tmp_path / "spam.csv").write_bytes(lines.encode("cp1252"))
    read = read_labelled_texts(tmp_path / "spam.csv", ["v2"], "v1").dataset
    assert list(zip(read["label"], read["text"], strict=True)) == rows
    assert read.column_names == ["input", "text", "label", "v1", "v2"]
    assert "It was read as cp1252" in caplog.text


GOOD = {"text": "a", "label": "x"}
BAD_TABLES = {
    "empty file": (b"", "the file is empty"),
    "header only": (b"text,label\n", "has no rows"),
    "missing column": (b"body,label\na,x\n", "has no column 'text'. Its columns are: body, label"),
    "one class": (b"text,label\na,x\nb,x\n", "every text has the label 'x'"),
    "label seen once": (b"text,label\na,x\nb,x\nc,y\n", r"'y' occurs only once \(row 3\)"),
    "white space": (b"text,label\n ,x\n   ,y\n", "no row has a text: there is no text in text"),
    "no label": (b"text,label\na,x\nb,\n", "row 2 has no label in 'label'"),
    "not UTF-8": (b"text,label\na,x\ncaf\x81,y\n", "line 3 is not UTF-8"),
    "too few cells": (b"text,label\na,x\nb\n", "cannot be read as CSV"),
}


@pytest.mark.parametrize("damage", BAD_TABLES)
def test_bad_tables_are_refused_by_file_and_row(tmp_path, damage):
    content, message = BAD_TABLES[damage]
    (tmp_path / "bad.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"bad\.csv: .*{message}"):
        read_labelled_texts(tmp_path / "bad.csv")


def test_bad_json_lines_are_refused_by_line(tmp_path):
    path = tmp_path / "bad.jsonl"
    for line, message in {
        "{": "line 2 is not JSON",
        "[1]": "line 2 is not a JSON object",
        '{"text": "\\ud800", "label": "x"}': "half a surrogate pair",
    }.items():
        path.write_text(f"{json.dumps(GOOD)}\n{line}\n")
        with pytest.raises(InputError, match=message):
            read_labelled_texts(path)


def test_what_is_no_mail_and_no_table_is_refused(tmp_path):
    (tmp_path / "report.docx").write_bytes(b"PK")
    with pytest.raises(InputError, match="not a kind of file that can be read here"):
        read_texts(tmp_path / "report.docx")
    with pytest.raises(InputError, match="no such file or folder"):
        read_texts(tmp_path / "missing.csv")
    with pytest.raises(InputError, match="The path of what is to be read is empty"):
        read_texts("")
    (tmp_path / "fake.mbox").write_text("Dear all\n")
    with pytest.raises(InputError, match="an mbox begins with a line such as"):
        read_texts(tmp_path / "fake.mbox")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \.eml file in this folder"):
        read_texts(tmp_path / "empty")
    (tmp_path / "one.eml").write_bytes(simple("x"))
    with pytest.raises(InputError, match="holds no labels"):
        read_labelled_texts(tmp_path / "one.eml")
