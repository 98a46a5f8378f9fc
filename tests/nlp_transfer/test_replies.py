"""A mail says what its sender wrote and what he forwards, and not what he answers."""

import time
from email.message import EmailMessage

import pytest

from nlp_transfer.emails.body_text import html_to_text
from nlp_transfer.emails.message import parse_message
from nlp_transfer.emails.replies import is_forward, without_quotes

OLD = "The pump has stopped."
HEADERS = [
    "From Sent To Subject",
    "Von Gesendet An Betreff",
    "De Envoyé À Objet",
    "De Enviado Para Asunto",
    "De Data Para Assunto",
    "Da Inviato A Oggetto",
    "Van Verzonden Aan Onderwerp",
    "Från Skickat Till Ämne",
    "Fra Sendt Til Emne",
    "Lähettäjä Lähetetty Vastaanottaja Aihe",
    "Od Wysłano Do Temat",
    "От Отправлено Кому Тема",
    "Od Odoslané Komu Predmet",
    "De_la Trimis Către Subiect",
    "Від Надіслано Кому Тема",
    "Από Στάλθηκε Προς Θέμα",
    "מאת נשלח אל נושא",
    "من تم_الإرسال إلى الموضوع",
    "发件人 发送时间 收件人 主题",
    "差出人 送信日時 宛先 件名",
]


def body(text, subject="Re: pump", kind="plain"):
    message = EmailMessage()
    message["Subject"] = subject
    message.set_content(text, subtype=kind)
    return parse_message(message.as_bytes()).body


def block(names, colon=":"):
    sender, sent, to, subject = (f"{name}{colon}".replace("_", " ") for name in names.split())
    return (
        f"{sender} Ann Lee <ann@example.org>\n{sent} Monday, June 3, 2024 10:15 AM\n"
        f"{to} Bob <bob@example.org>; Carl\n <carl@example.org>\n{subject} RE: pump\n\n{OLD}\n"
    )


@pytest.mark.parametrize("names", HEADERS)
@pytest.mark.parametrize("above", ["", "________________________________\n", "-" * 30 + "\n"])
def test_the_headers_of_outlook_end_a_reply_and_begin_what_is_forwarded(names, above):
    for colon in (":", " :", "\uff1a"):
        text = f"I am coming.\n\nBob\n\n{above}{block(names, colon)}"
        assert body(text) == "I am coming.\n\nBob"
        forwarded = body(text, "FW: pump")
        assert forwarded.startswith("I am coming.") and forwarded.endswith(OLD)


@pytest.mark.parametrize(
    "line",
    [
        "-----Original Message-----",
        "-----Ursprüngliche Nachricht-----",
        "-----Message d'origine-----",
        "-----Mensaje original-----",
        "-----Messaggio originale-----",
        "-----Oorspronkelijk bericht-----",
        "-----Исходное сообщение-----",
        "-----Ann Lee <ann@example.org> wrote: -----",
        "---- On Mon, 3 Jun 2024 Ann Lee <ann@example.org> wrote ----",
    ],
)
def test_a_line_that_names_the_original_does_so_too(line):
    text = f"I am coming.\n\n {line} \nXyz: Ann\n\n{OLD}"
    assert body(text) == "I am coming."
    assert body(text, "WG: pump").endswith(OLD)


@pytest.mark.parametrize(
    "line",
    [
        "---------- Forwarded message ---------",
        "----- Forwarded message from Ann <ann@example.org> -----",
        "---------------------- Forwarded by Ann Lee/Org on 03/06/2024 10:15 ------------------",
        "--- begin forwarded text",
        "-------- Weitergeleitete Nachricht --------",
        "-------- Message transféré --------",
        "-------- Mensaje reenviado --------",
        "-------- Messaggio Inoltrato --------",
        "-------- Doorgestuurd bericht --------",
        "-------- Пересылаемое сообщение --------",
        "Begin forwarded message:",
        "Anfang der weitergeleiteten Nachricht:",
        "Début du message réexpédié :",
        "Początek przekazywanej wiadomości:",
        "İletilen ileti başlangıcı:",
        "开始转发的邮件：",
        "-------- Переслане повідомлення --------",
        "---------- הודעה שהועברה ---------",
        "------- Forwarded Message",
        "------- Start of forwarded message -------",
        "_____ Forwarded message _____",
    ],
)
def test_a_forwarded_message_is_kept_with_all_that_it_quotes(line):
    forwarded = f"From: Ann\nDate: Monday\nSubject: pump\nTo: Bob\n\n{OLD}\n> Older\n-- \nAnn"
    assert body(f"FYI\n-- \nBob\n\n{line}\n{forwarded}\n", "pump") == (
        f"FYI\n{line}\n{forwarded.replace('-- ', '--')}"
    )


ATTRIBUTIONS = [
    "On Mon, Jun 3, 2024 at 10:15 AM Ann Lee <ann@example.org> wrote:",
    "Am Mo., 3. Juni 2024 um 10:15 Uhr schrieb Ann Lee <\nann@example.org>:",
    "Am 03.06.24 um 10:15 schrieb Ann Lee:",
    "Le lun. 3 juin 2024 à 10:15, Ann Lee <ann@example.org> a\nécrit :",
    "El lun, 3 jun 2024 a las 10:15, Ann Lee (<ann@example.org>)\nescribió:",
    "Il giorno lun 3 giu 2024 alle ore 10:15 Ann <ann@example.org> ha scritto:",
    "Em seg., 3 de jun. de 2024 às 10:15, Ann <ann@example.org> escreveu:",
    "Op ma 3 jun 2024 om 10:15 schreef Ann Lee <ann@example.org>:",
    "Den mån 3 juni 2024 kl 10:15 skrev Ann Lee <ann@example.org>:",
    "pon., 3 cze 2024 o 10:15 Ann Lee <ann@example.org> napisał(a):",
    "пн, 3 июн. 2024 г. в 10:15, Ann Lee <ann@example.org>:",
    "3 июня 2024 г., в 10:15, Ann Lee написал(а):",
    "2024年6月3日(月) 10:15 Ann Lee <ann@example.org>:",
    "Ann Lee 於 2024年6月3日 週一 上午10:15寫道\uff1a",
    "Ann Lee writes:",
    "W dniu 03.06.2024 o 10:15, Ann Lee pisze:",
]


@pytest.mark.parametrize("attribution", ATTRIBUTIONS)
def test_who_wrote_what_is_quoted_goes_with_the_quote(attribution):
    text = f"I am coming.\n\n{attribution}\n\n> {OLD}\n>> Older\n\nAn answer below."
    assert body(text) == "I am coming.\n\nAn answer below."
    said = attribution.replace("<", "&lt;")
    html = f"<p>I am coming.</p><div>{said}</div><blockquote type='cite'>{OLD}</blockquote><p>Yes."
    assert body(html, kind="html") == "I am coming.\nYes."


@pytest.mark.parametrize(
    "text",
    [
        "I disagree with points 2 and 3:\n> quoted\nSee there.",
        "On 3 June we met.\n\nAnn wrote:\n> quoted\nSee there.",
        "Please book.\n\nFrom: London\nTo: Paris\nDate: 3 June\n\nSee there.",
        "--- Original plan ---\nSee there.",
        "______________________________\nNote: see there.",
        "------------------------------\nNote: see there.",
        "Subject: what we said\nSee there.",
        "I am coming.\n________________________________\nNote: see there.\nAnn",
        "Red\n--\nGreen\n--\nBlue",
    ],
)
def test_what_only_looks_like_a_quote_is_kept(text):
    own = [line for line in text.split("\n") if line not in ("> quoted", "Ann wrote:")]
    assert body(text).split("\n") == "\n".join(own).replace("\n\n\n", "\n\n").split("\n")


HEAD = "<b>Xyz:</b> Ann<br><b>Zyx:</b> Monday"  # a language that is not known here
REPLIES = {
    "Gmail": "<div class='gmail_quote'><div class='gmail_attr'>Xyz Ann &lt;ann@example.org&gt;:"
    "<br></div><blockquote class='gmail_quote'>{}</blockquote></div>",
    "Thunderbird": "<div class='moz-cite-prefix'>Xyz Ann xyz</div>"
    "<blockquote type='cite'><p>{}</p></blockquote>",
    "Apple": "<blockquote type='cite'><div>Xyz Ann xyz</div><div>{}</div></blockquote>",
    "Yahoo": "<div class='ydp77yahoo_quoted'><div>Xyz Ann xyz</div><div>{}</div></div>",
    "Outlook in a browser": f"<hr><div id='divRplyFwdMsg'>{HEAD}</div><div>{{}}</div>",
    "Outlook": "<div><div style='border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm "
    f"0cm'><p>{HEAD}</p></div></div><p>{{}}</p>",
}


@pytest.mark.parametrize("program", REPLIES)
def test_html_replies_lose_what_they_answer_in_any_language(program):
    html = f"<p>I am coming.</p>{REPLIES[program].format(OLD)}"
    assert body(html, kind="html") == "I am coming."
    assert OLD in body(html, "FW: pump", kind="html")
    assert OLD in html_to_text(html, keep_quotes=True)
    assert "\n>" not in html_to_text(html, keep_quotes=True)


def test_answers_between_quotes_of_html_are_kept():
    quote = "<blockquote class='gmail_quote'>quoted</blockquote>"
    html = f"<div>Hello</div><div class='gmail_quote'>{quote}<div>Yes.</div>{quote}No.</div>"
    assert body(html, kind="html") == "Hello\nYes.\nNo."


@pytest.mark.parametrize(
    "html",
    [
        "<div class='gmail_quote'><div>---------- Forwarded message ---------<br>From: Ann</div>"
        "<p>{}</p><blockquote class='gmail_quote'>older</blockquote></div>",
        "<blockquote type='cite'><div>Begin forwarded message:</div><p>{}</p></blockquote>",
        "<div class='yahoo_quoted'><div>----- Forwarded Message -----</div><p>{}</p></div>",
        "<div>-------- Weitergeleitete Nachricht --------</div><table><tr><th>Von:</th><td>Ann</td>"
        "</tr></table><p>{}</p>",
    ],
)
def test_html_forwards_are_kept(html):
    read = body(f"<div>FYI</div>{html.format(OLD)}", "pump", kind="html")
    assert read.startswith("FYI") and OLD in read


def test_subjects_tell_forwards_from_replies():
    for subject in ("Fwd: x", "FW: x", "WG: x", "TR : x", "RV: x", "[Ext] Fwd: x", "转发\uff1ax"):
        assert is_forward(subject)
    for subject in ("Re: Fwd: x", "AW: x", "Forward planning", "I think so", "Training: x", ""):
        assert not is_forward(subject)


def test_a_mail_that_is_all_quote_is_kept():
    for text in (f"> {OLD}", block(HEADERS[0]), f"-----Original Message-----\n{OLD}"):
        assert without_quotes(text) == text
    assert without_quotes(f"FYI\n\n> {OLD}", forwards=True) == f"FYI\n\n> {OLD}"


@pytest.mark.parametrize(
    "line",
    [
        "\n",
        " ",
        "-",
        f"{'_' * 32}\n\n",
        "From: a\nSubject: b\n",
        "x\n-- forwarded message --\n",
        "On 9 wrote:\n>\n",
        "\n>\n\n",
        f"{'<a@b wrote ' * 30}:\n> x\n",
    ],
)
def test_the_time_grows_with_the_length_and_no_faster(line):
    start = time.process_time()
    without_quotes(line * (200_000 // len(line)))
    assert time.process_time() - start < 2


def test_headers_may_be_bold_indented_or_those_of_lotus_notes():
    for head in (
        "*From:* Ann\n*Sent:* Monday\n*To:* Bob\n*Subject:* pump",
        "  From:\tAnn\n  To:\tBob,\n\tCarl\n  Cc:\tDan\n  Date:\tMonday\n  Subject:\tpump",
        "Ann Lee <ann@example.org>\n____________________\nFrom: Ann on 07/02/2001 12:32 PM\n"
        "To: Bob/Org@Org\ncc:\nSubject: pump",
    ):
        assert body(f"I am coming.\n\n{head}\n\n{OLD}").split("\n")[0] == "I am coming."
        assert OLD not in body(f"I am coming.\n\n{head}\n\n{OLD}")
