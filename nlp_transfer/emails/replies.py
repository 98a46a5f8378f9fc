"""What a mail says itself: without the mail that it answers, with the mail that it forwards."""

import re

# fmt: off
_FORWARDED = (
    "forwarded (?:message|text|by)|weitergeleiteten? (?:nachricht|e-?mail)"
    "|message (?:transféré|réexpédié)|mensaje reenviado|mensagem (?:re)?encaminhada"
    "|messaggio inoltrato|doorgestuurd bericht|vidarebefordrat (?:meddelande|brev)"
    "|videresendt? (?:besked|meddelelse|melding|e-?mail)|edelleenlähetetty viesti|välitetty viesti"
    "|przekaz(?:ana|anej|ywanej) wiadomoś(?:ć|ci)|переслане повідомлення"
    "|(?:пересылаемо|пересланно|перенаправленно|переадресованно)(?:е|го) сообщени[ея]"
    "|přeposlaná zpráva|továbbított (?:üzenet|levél)"
    "|(?:iletilen|iletilmiş|yönlendirilen|yönlendirilmiş) (?:ileti|mesaj)|προωθημένο μήνυμα"
    "|转发的?(?:邮件|消息)|轉寄的?郵件|転送メッセージ|전달된 메[시일]지?"
)
_ORIGINAL = (
    "original (?:message|appointment)|ursprüngliche[rs]? (?:nachricht|termin)|originalnachricht"
    "|message d['\u2019]origine|message original|mensaje original|mensagem original"
    "|messaggio originale|(?:oorspronkelijk|origineel) bericht|(?:ursprungligt |original)meddelande"
    "|oprindelig meddelelse|opprinnelig melding|alkuperäinen viesti|oryginalna wiadomość"
    "|wiadomość oryginalna|исходное сообщение|původní zpráva|eredeti üzenet"
    "|(?:orijinal|özgün) (?:ileti|mesaj)|原始邮件|邮件原件|原始郵件|元のメッセージ|원본 메[시일]지?"
)
# The headers that mail programs write above a mail that is answered or forwarded.
_FROM = (
    "from|von|de|da|van|från|fra|lähettäjä|od|от|от кого|feladó|kimden|gönderen|发件人|寄件者"
    "|差出人|보낸 ?사람|de la|від|από|מאת|من"
)
_SUBJECT = (
    "subject|betreff|objet|asunto|assunto|oggetto|onderwerp|ämne|emne|aihe|temat|тема|předmět"
    "|tárgy|konu|主题|主旨|件名|제목|predmet|subiect|θέμα|נושא|الموضوع"
)
_SENT = (
    "sent|date|gesendet|datum|envoyé|enviado(?: el)?|fecha|data|enviada em|inviato|verzonden"
    "|skickat|sendt|dato|lähetetty|päiväys|wysłano|отправлено|дата|odesláno|elküldve|dátum"
    "|gönderildi|(?:gönderme )?tarihi?|发送时间|日期|寄件日期|傳送日期|送信日時|日付"
    "|(?:보낸 ?)?날짜|odoslané|trimis|надіслано|στάλθηκε|ημερομηνία|נשלח|تاريخ الإرسال|تم الإرسال"
)
_TO = (
    "to|an|à|para|a|aan|till|til|vastaanottaja|do|кому|komu|címzett|kime|收件人|收件者|宛先"
    "|받는 ?사람|către|προς|אל|إلى"
)
_WROTE = (
    "wrote|writes|said|schrieb|écrit|escribió|escreveu|scritto|schreef|geschreven|skrev|kirjoitti"
    "|napisała?|pisze|napsala?|пишет|писала?|написала?|írta|yazdı|a scris"
)
_OPENING = "on|am|le|el|il|em|op|den|på|dnia|w dniu|dne|på|в|în|at|vào|在|於"
# fmt: on
_FORWARDS = re.compile(
    r"(?:\W|\[[^\]]{0,40}\])*"  # such as "[External]"
    r"(?:fwd?|wg|tr|rv|enc|res?env|i|vb|vl|pd|i̇?lt|továbbítás|转发|轉寄|転送)\s*[:\uff1a]",
    re.I,
)


_ANY_NAME = r"\w[^\n:\uff1a]{0,30}"


def _headers(names: str) -> str:
    return rf"[ \t*]*(?:{names})[ \t*]*[:\uff1a]"


def _within(names: str) -> str:
    return rf"(?=(?:.*\n){{0,8}}?{_headers(names)})"


_ANY_HEADER = _headers(f"{_FROM}|{_SUBJECT}|{_SENT}|{_TO}")
# The last one is Gmail's in any language.
_FORWARD_LINE = (
    rf"[ \t]*(?:[-_*=]{{2,40}}+[ \t]*(?:\w{{1,20}} ){{0,2}}(?:{_FORWARDED}).{{0,200}}"
    rf"|(?:\w{{1,20}} ?){{0,2}}(?:{_FORWARDED})(?: \w{{1,20}})?[ \t]*[:\uff1a]"
    r"|-{10} ?[^-\n]{1,60} ?-{9})[ \t]*$"
)
_FORWARD = re.compile(_FORWARD_LINE, re.I)
# Where another mail begins: a line that says so, the 32 underscores of Outlook above headers in any
# language, or headers that are known.
_BOUNDARY = re.compile(
    rf"^(?:(?P<forward>{_FORWARD_LINE})|[ \t]*-{{2,40}}[ \t]*(?:{_ORIGINAL})[ \t]*-{{2,40}}"
    rf"|[ \t]*-{{2,40}}[ \t]*[^\s-].{{0,200}}\b(?:{_WROTE}) ?:?[ \t]*-{{2,40}}[ \t]*$"
    rf"|[ \t]*_{{32}}[ \t]*\n\s{{0,9}}(?=(?:{_headers(_ANY_NAME)}.*\n){{2}})"
    rf"|(?:[ \t]*[-_=]{{5,200}}[ \t]*\n\s{{0,9}})?(?={_ANY_HEADER})"
    rf"{_within(_FROM)}{_within(_SUBJECT)}{_within(f'{_SENT}|{_TO}')})",
    re.M | re.I,
)
_SIGNATURE = ("-- ", "--")  # some programs lose the blank
# "On Monday, 3 June, Ann wrote:", "Ann Lee <ann@example.org>:", in one line or up to three.
_SAID = re.compile(
    rf"\b(?:{_WROTE})\b|写道|寫道|書きました|작성|<[^\s<>]{{1,100}}@[^\s<>]{{1,100}}>", re.I
)
_OPENED = re.compile(rf"(?:{_OPENING})\b|\d", re.I)
_LONGEST_ATTRIBUTION = 400  # characters


def is_forward(subject: str) -> bool:
    """Return whether a subject says that the mail forwards another, as `Fwd:` does."""
    return _FORWARDS.match(subject) is not None


def begins_forwarded(line: str) -> bool:
    """Return whether a line says that a forwarded mail follows."""
    return _FORWARD.match(line) is not None


def without_quotes(text: str, forwards: bool = False) -> str:
    """Return `text` without the mail that it answers and the signature; all if nothing is left.

    Args:
        text: The text of a mail.
        forwards: Whether the mail forwards another, which is kept with all that it quotes. Some
            programs write the same above a mail that is answered and one that is forwarded.
    """
    if forwards:
        return text
    boundary = _BOUNDARY.search(text)
    kept = _own_lines(text[: boundary.start()] if boundary else text)
    if boundary and boundary["forward"]:
        kept += text[boundary.start() :]
    return kept if kept.strip() else text


def _own_lines(text: str) -> str:
    """Return the lines that are no quotes, down to the signature."""
    lines = text.split("\n")
    mark, bare = _SIGNATURE
    if mark not in lines and lines.count(bare) == 1:  # several part something else
        mark = bare
    if mark in lines:
        lines[lines.index(mark) :] = [""]
    kept: list[str] = []
    last = 0  # how many lines there are down to the last that is not blank, until it is looked at
    for line in lines:
        if not line.lstrip().startswith(">"):
            kept.append(line)
            last = len(kept) if line.strip() else last
        elif last:
            del kept[last - _attribution(kept[max(last - 3, 0) : last]) :]
            last = 0
    return "\n".join(kept)


def _attribution(lines: list[str]) -> int:
    """Return how many of the last lines, three at most, say who wrote what is quoted below."""
    for count in range(len(lines), 0, -1):
        said = " ".join(lines[-count:]).strip()
        ends_before = any(re.search(r"[.!?]\s*$|^\s*$", line) for line in lines[-count:-1])
        if (count == 1 or (_OPENED.match(said) and not ends_before)) and _attributes(said):
            return count
    return 0


def _attributes(said: str) -> bool:
    if len(said) > _LONGEST_ATTRIBUTION or not said.endswith((":", "\uff1a")):
        return False
    ends = [found.end() for found in _SAID.finditer(said)]
    # The verb comes last, or there is a date as well: "Am 3. Juni 2024 schrieb Ann:".
    return bool(ends) and (len(said) - ends[-1] <= len(" (a) :") or any(map(str.isdigit, said)))
