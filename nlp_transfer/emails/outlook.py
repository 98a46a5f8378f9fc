"""What Outlook saves as .msg (a compound file of OLE, not MIME): its subject and its body."""

from io import BytesIO

from olefile import OleFileIO
from oxmsg import Message
from oxmsg.domain.constants import PID_HTML

from nlp_transfer.emails.charsets import decode


def read_outlook(data: bytes) -> tuple[str, str, str]:
    """Return the subject, the plain text and the HTML of a message; what it lacks is empty.

    Raises:
        ValueError: the parts of the file are together larger than the file.
        Exception: almost anything else, if the file is damaged.
    """
    with OleFileIO(BytesIO(data)) as file:
        if sum(map(file.get_size, file.listdir())) > len(data):
            raise ValueError("it claims more bytes than it has")
    message = Message.load(BytesIO(data))
    html = message.properties.binary_prop_value(PID_HTML)
    if html is not None:
        return message.subject, message.body or "", decode(html, message.properties.body_encoding)
    return message.subject, message.body or "", message.html_body or ""
