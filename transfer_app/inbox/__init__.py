"""Mail marked where it lies: on a server, in a Maildir, or in the copy of an mbox."""

from transfer_app.inbox.marker import Marker
from transfer_app.inbox.opening import mailbox_at

__all__ = ["Marker", "mailbox_at"]
