"""What a reader sees of a mail is what is read: the right parts, charsets and HTML of it."""

import email
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest

from nlp_transfer.emails.body_text import html_to_text
from nlp_transfer.emails.charsets import decode
from nlp_transfer.emails.message import BrokenMessageError, parse_message
from tests.nlp_transfer.outlook_files import outlook_message

RAW_MAIL = Path(__file__).parents[1] / "data" / "raw_mail"


@pytest.mark.parametrize(
    ("html", "seen"),
    [
        (
            "<!--[if gte mso 9]><xml/><![endif]--><p>The pump has stopped.</p>",
            "The pump has stopped.",
        ),
        ("<!--[if mso]><p>Outlook</p><![endif]--><p>others</p>", "others"),
        ("<p>a</p><!--[if !mso]><!--><p>b</p><!--<![endif]--><p>c</p>", "a\nb\nc"),
        ("<!--[if !mso]><!-- --><p>b</p><!-- <![endif]--><p>c</p>", "b\nc"),
        ("<!--[if !mso]>--><p>b</p><!--<![endif]--><p>c</p>", "b\nc"),
        ("<![if !mso]><p>b</p><![endif]><p>c</p>", "b\nc"),
        ("<head><xml><w:View>Normal 96</w:View></xml></head><p>b</p>", "b"),
        ("<?xml:namespace prefix=o /><p>b<o:p></o:p></p>", "b"),
        ("<!-->a<!--->b<!-- x --!>c<!-- never closed", "abc"),
        ("<style><!-- p {} </style><script>a <!--</script><p>b</p>", "b"),
        ("<p style='mso-hide:all'>shown</p><p style='mso-hide:all;display:none'>no</p>", "shown"),
        ("Sale&zwnj; &#847;&zwnj;&nbsp;&#8199;&shy;&#847; &#8203;&#65279;", "Sale"),
        ("die Ma&shy;schi&shy;ne, pay&#8203;ment", "die Maschine, payment"),
        ("می&zwnj;خواهم 👩&zwj;💻 ❤️", "می\u200cخواهم 👩\u200d💻 ❤️"),
        ("สวัสดี&#8203;ครับ", "สวัสดี ครับ"),
    ],
)
def test_html_is_read_as_it_is_shown(html, seen):
    assert html_to_text(html) == seen


def mixed(kind, *parts):
    """A multipart message; each part is its headers and its text."""
    bodies = "".join(f"--b\nContent-Type: {head}\n\n{text}\n" for head, text in parts)
    return f"Subject: x\nContent-Type: multipart/{kind}; boundary=b\n\n{bodies}--b--\n".encode()


HTML = ("text/html", "<p>The pump has stopped.</p>")
FOOTER = ("text/plain", "For members only.")
ATTACHED = ("text/plain; name=a.txt\nContent-Disposition: attachment", "attached")
NESTED = (
    "multipart/alternative; boundary=c",
    "--c\nContent-Type: text/plain\n\nplain\n--c\nContent-Type: text/html\n\n<p>html\n--c--",
)
EMPTY_PLAIN = ("multipart/alternative; boundary=c", NESTED[1].replace("\nplain\n", "\n \n"))


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (mixed("mixed", HTML, FOOTER), "The pump has stopped.\nFor members only."),
        (mixed("mixed", FOOTER, HTML, FOOTER), f"{FOOTER[1]}\nThe pump has stopped.\n{FOOTER[1]}"),
        (
            mixed("signed", HTML, FOOTER, ("application/pgp-signature", "iQ")),
            "The pump has stopped.\nFor members only.",
        ),
        (mixed("mixed", NESTED, FOOTER), "plain\nFor members only."),
        (mixed("mixed", EMPTY_PLAIN, FOOTER), "html\nFor members only."),
        (mixed("alternative", HTML, FOOTER), "For members only."),
        (mixed("alternative", FOOTER, HTML), "For members only."),
        (mixed("alternative", ("text/plain", ""), HTML), "The pump has stopped."),
        (mixed("related", HTML, ("image/png", "x")), "The pump has stopped."),
        (mixed("mixed", HTML, ATTACHED), "The pump has stopped."),
        (mixed("mixed", HTML, ("text/calendar", "BEGIN:VCALENDAR")), "The pump has stopped."),
        (mixed("mixed", ("text/markdown", "# Stop"), ("text/enriched", "<bold>x")), "# Stop\nx"),
        (mixed("mixed", HTML, ("text/x-log", "E42")), "The pump has stopped.\nE42"),
        (mixed("mixed", HTML, ("text/csv", "pump,3")), "The pump has stopped.\npump,3"),
        (mixed("mixed", HTML, ("text/x-vcard", "BEGIN:VCARD")), "The pump has stopped."),
        (b"Subject: x\nContent-Type: multipart/mixed\n\nflattened", "flattened"),
        (b"Subject: x\nContent-Disposition: attachment\n\nscanned", "scanned"),
    ],
)
def test_one_of_alternatives_is_read_and_all_of_a_mixture(message, body):
    assert parse_message(message).body == body


def test_each_part_of_a_mixture_keeps_its_own_signature_away():
    message = mixed("mixed", ("text/plain", "Yes.\n-- \nBob"), FOOTER)
    assert parse_message(message).body == "Yes.\n\nFor members only."


@pytest.mark.parametrize(
    ("charset", "text", "lacking"),
    [
        ("iso-2022-jp", "ポンプが止まりました", b"\x1b$B-!\x1b(B"),
        ("iso-2022-jp", "ポンプが止まりました", "é".encode()),
        ("iso-2022-jp-ms", "ポンプが止まりました", b"\x1b$B-!\x1b(B"),
        ("iso-2022-jp-2", "ポンプが止まりました", b"\x1b$B-!\x1b(B"),
        ("iso-2022-jp*ja", "ポンプが止まりました", b"\x1b$B|q\x1b(B"),
        ("iso-2022-kr", "펌프가 멈췄습니다", b"\x0e-~\x0f"),
        ("hz-gb-2312", "泵停了", b"~{-~~}"),
        ("utf-7", "die Tür klemmt", b"\xff"),
    ],
)
def test_a_character_that_a_charset_lacks_costs_no_other(charset, text, lacking):
    encoded = text.encode(charset.removesuffix("-ms").partition("*")[0]) + b" " + lacking
    read = decode(encoded, charset)
    assert read.startswith(f"{text} ")
    assert set(read.removeprefix(f"{text} ")) == {"\ufffd"}
    subject = b"Subject: =?%s?b?%s?=\n\nx" % (
        charset.encode(),
        email.base64mime.body_encode(encoded, eol="").encode(),
    )
    assert parse_message(subject).subject.startswith(text)


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("iso-8859-8-i", "iso8859-8", "המשאבה נעצרה"),
        ("iso-8859-8-e", "iso8859-8", "המשאבה נעצרה"),
        ("windows-874", "cp874", "ปั๊มหยุด"),
        ("x-sjis", "cp932", "ポンプ①"),
        ("windows-31j", "cp932", "ポンプ①"),
        ("x-mac-japanese", "shift_jis", "ポンプ"),
        ("iso-2022-jp-ms", "iso2022_jp", "ポンプ"),
        ("cp50221", "iso2022_jp_ext", "ﾎﾟﾝﾌﾟ"),
        ("x-gbk", "gbk", "泵停了"),
        ("cn-gb", "gb2312", "泵停了"),
        ("gb_2312-80", "gbk", "泵停了"),
        ("x-euc-jp", "euc_jp", "ポンプ"),
        ("cp51932", "euc_jp", "ポンプ"),
        ("cp20866", "koi8_r", "Насос"),
        ("big5-eten", "big5", "泵停了"),
        ("x-euc-kr", "cp949", "펌프"),
        ("x-big5", "big5", "泵停了"),
        ("x-windows-949", "cp949", "펌프"),
        ("x-mac-roman", "mac-roman", "Pümpe"),
        ("x-mac-cyrillic", "mac-cyrillic", "насос"),
        ("x-cp1251", "cp1251", "насос"),
        ("win-1251", "cp1251", "насос"),
        ("koi8", "koi8-r", "насос"),
        ("cp-850", "cp850", "Pümpe"),
        ("'utf-8'", "utf-8", "Pümpe"),
        ("unicode", "utf-16", "Pümpe"),
        ("unicode", "utf-8", "Pümpe"),
        ("utf-16", "utf-8", "Pümpe geht"),
        ("us-ascii", "utf-8", "Pümpe"),
        *((codec, "utf-8", "Pümpe") for codec in ("base64", "hex", "bz2", "rot13", "undefined")),
        ("charmap", "utf-8", "Pümpe"),
        ("latin-1", "cp1252", "“Pümpe” – 5 €"),
        ("iso8859_1", "cp1252", "“Pümpe” – 5 €"),
        ("ks_c_5601", "cp949", "똠방"),
        ("IBM00858", "cp858", "Pümpe 5 €"),
        ("ansi-1251", "cp1251", "Насос"),
        ("x-mac-ce", "mac_latin2", "Čerpadlo"),
    ],
)
def test_charsets_are_known_by_the_names_that_mail_programs_write(label, codec, text):
    encoded = text.encode(codec)
    assert decode(encoded, label) == text
    head = f"Subject: =?{label}?q?{''.join(f'={byte:02x}' for byte in encoded)}?=\n".encode()
    message = head + b'Content-Type: text/plain; charset="%s"\n' % label.encode()
    message += (
        b"Content-Transfer-Encoding: base64\n\n" + email.base64mime.body_encode(encoded).encode()
    )
    assert parse_message(message) == (text, text, False)


def test_a_charset_in_the_html_is_believed_where_it_can_be():
    page = "<meta charset={}><p>насос"
    for declared, written in [("utf-16", "utf-8"), ("windows-1251", "cp1251"), ("hex", "utf-8")]:
        html = page.format(declared).encode(written)
        for head in (b"text/html", b"text/html; charset=us-ascii", b"text/html; charset=x"):
            message = b"Subject: x\nContent-Type: %s\n\n" % head + html
            assert parse_message(message).body == "насос"


@pytest.mark.parametrize("label", ["us-ascii", "utf-8", "x-unknown", None])
def test_japanese_in_seven_bits_is_read_whatever_is_declared(label):
    assert decode("ポンプ stop".encode("iso-2022-jp"), label) == "ポンプ stop"


def test_a_text_that_was_never_encoded_is_read_as_it_is():
    head = b"Subject: s\nContent-Transfer-Encoding: base64\n\n"
    said = "The pümp has stopped, please call.\nAnn"
    assert parse_message(head + said.encode()).body == said
    assert parse_message(head + b"SGVsbG8=\n\n____\nA list's footer\n").body == "Hello"


def test_an_undeclared_subject_is_ascii_whatever_the_text_is():
    message = b"Subject: Stop +AOk-\nContent-Type: text/plain; charset=utf-7\n\nT+APw-r"
    assert parse_message(message) == ("Stop +AOk-", "Tür", False)


@pytest.mark.parametrize(
    "before", [b"\xef\xbb\xbf", b"\n\n", b"\r\n", b" \n", b"\xef\xbb\xbf\n", b"\n>From a b\n"]
)
def test_headers_are_found_after_a_byte_order_mark_and_blank_lines(before):
    assert parse_message(before + b"Subject: Pump\n\nStopped") == ("Pump", "Stopped", False)


@pytest.mark.parametrize(
    "kind",
    [
        "application/pdf",
        "text/calendar; method=REQUEST",
        "multipart/encrypted; boundary=b",
        "application/pkcs7-mime",
        "application/ms-tnef; name=winmail.dat",
        "message/rfc822",
        "image/png",
    ],
)
def test_a_mail_without_text_stands_for_its_subject(kind):
    message = f"Subject: The pump has stopped\nContent-Type: {kind}\n\n"
    parts = "--b\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n--b--\n"
    message += parts if "boundary" in kind else "Subject: x\n\nx"
    assert parse_message(message.encode()) == ("The pump has stopped", "", False)
    with pytest.raises(BrokenMessageError, match="neither a subject nor a text"):
        parse_message(message.encode().partition(b"\n")[2])


def walked(data):
    """The words of a message without alternatives, by the newer interface of Python's parser."""
    message = email.message_from_bytes(data, policy=default)
    texts = [
        part.get_content()
        for part in message.walk()
        if part.get_content_type() == "text/plain" and not part.is_attachment()
    ]
    return str(message["subject"]).split(), " ".join(texts).split()


def written(charset, encoding, dispositions):
    message = EmailMessage()
    message["Subject"] = "Prüfung: Größe №5"
    message.make_mixed()
    for number, disposition in enumerate(dispositions):
        part = EmailMessage()
        part.set_content(f"Ärger {number} mit dem Türöffner\n" * 3, charset=charset, cte=encoding)
        part["Content-Disposition"] = disposition
        message.attach(part)
    return message.as_bytes()


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "windows-1252"])
@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable", "base64"])
@pytest.mark.parametrize(
    "dispositions", [["inline"], ["inline", "attachment", "inline", "inline; filename=a.log"]]
)
def test_texts_equal_those_of_a_walk_by_hand(charset, encoding, dispositions):
    data = written(charset, encoding, dispositions)
    read = parse_message(data, keep_quotes=True)
    assert (read.subject.split(), read.body.split()) == walked(data)


@pytest.mark.parametrize("name", ["easy-ham-1-00993", "easy-ham-2-01228", "easy-ham-2-00495"])
def test_real_mail_equals_a_walk_by_hand(name):
    data = (RAW_MAIL / f"{name}.eml").read_bytes()
    read = parse_message(data, keep_quotes=True)
    assert (read.subject.split(), read.body.split()) == walked(data)


def test_outlook_messages_are_read():
    plain = outlook_message("Pümpe 泵", "It has stopped.\r\n\r\nAnn wrote:\r\n> x\r\n")
    assert parse_message(plain) == ("Pümpe 泵", "It has stopped.", False)
    html = outlook_message("x", None, "<p>насос</p>".encode("cp1251"), codepage=1251)
    assert parse_message(html).body == "насос"
    assert parse_message(outlook_message("Scan")) == ("Scan", "", False)
    for damaged in (plain[:2000], plain[:512] + bytes(2000), plain[:8]):
        with pytest.raises(BrokenMessageError):
            parse_message(damaged)


def test_what_outlook_messages_need_is_named(monkeypatch):
    monkeypatch.setattr("nlp_transfer.emails.message.find_spec", lambda _: None)
    with pytest.raises(BrokenMessageError, match=r"needs the extra `outlook`: pip install"):
        parse_message(outlook_message("x", "y"))
