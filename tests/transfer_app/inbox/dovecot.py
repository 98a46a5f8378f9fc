"""A Dovecot of its own for tests: on loopback, on free ports, in a folder that is deleted."""

import grp
import hmac
import json
import os
import pwd
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time
from base64 import b64encode, urlsafe_b64encode
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from imapclient import IMAPClient

_PARTS = ("/usr/lib/dovecot", "/usr/libexec/dovecot")
PATH = f"{os.environ['PATH']}:/usr/sbin"

PASSWORD = 'päss%w@rd\\"'
KEY = b"a key that the server and those who sign tokens share"

_CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
log_timestamp = "%s.%{{usecs}} "
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
protocols = imap lmtp
mail_home = {folder}/mail/%u
mail_location = maildir:~/Maildir
mail_fsync = never
rawlog_dir = {folder}/said/%u
mail_max_userip_connections = 100
mail_plugins = notify mail_log
plugin {{
  mail_log_events = flag_change delete expunge copy
  mail_log_fields = uid box flags msgid
}}
auth_mechanisms = plain login xoauth2 oauthbearer
auth_failure_delay = 0
auth_username_chars =
ssl = yes
ssl_cert = <{folder}/certificate.pem
ssl_key = <{folder}/key.pem
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2
}}
passdb {{
  driver = passwd-file
  args = scheme=plain username_format=all {folder}/passwords
}}
userdb {{
  driver = static
  args = uid={user} gid={group} allow_all_users=yes
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {imap}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {imaps}
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
"""
_OAUTH2 = """
introspection_mode = local
username_attribute = username
local_validation_key_dict = fs:posix:prefix={folder}/keys/
"""


def is_installed():
    """Whether there is a Dovecot with what is needed of it."""
    has_parts = any(Path(lib, "imap").exists() and Path(lib, "lmtp").exists() for lib in _PARTS)
    return has_parts and shutil.which("dovecot", path=PATH) and shutil.which("openssl")


class Dovecot:
    """A server that is running, with a mailbox for each user whom mail is delivered to.

    Attributes:
        folder: All that it has.
        certificate: The file of its certificate, which is for `localhost`.
        ports: Where it listens, by `imap`, `imaps` and `lmtp`.
    """

    def __init__(self, extra=""):
        self.folder = Path(tempfile.mkdtemp(prefix="dovecot-"))
        account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self._account = account
        group = grp.getgrgid(account.pw_gid).gr_name
        self.ports = dict(zip(("imap", "imaps", "lmtp"), free_ports(3), strict=True))
        facts = {"folder": self.folder, "user": account.pw_name, "group": group, **self.ports}
        (self.folder / "configuration").write_text(_CONFIGURATION.format(**facts) + extra)
        (self.folder / "oauth2").write_text(_OAUTH2.format(**facts))
        (self.folder / "passwords").write_text(f"all:{PASSWORD}\n")
        keys = self.folder / "keys" / "default" / "HS256"
        keys.mkdir(parents=True)
        (self.folder / "said").mkdir()
        (keys / "default").write_text(b64encode(KEY).decode())
        self.certificate = write_certificate(self.folder)
        (self.folder / "mail").mkdir()
        self._give_away(self.folder)
        self.start()

    def start(self):
        """Start it, and return when it answers."""
        ids = {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        self._process = subprocess.Popen(
            [shutil.which("dovecot", path=PATH), "-F", "-c", self.folder / "configuration"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            **(ids if os.geteuid() == 0 else {}),
        )
        for port in self.ports.values():
            while not _answers(port):
                assert self._process.poll() is None, self._process.stderr.read()
                time.sleep(0.02)

    def stop(self):
        """Stop it, with all connections; those that are idle it would leave open for a while."""
        self._process.terminate()
        self._process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
            time.sleep(0.5)
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.stderr.close()

    def close(self):
        """Stop it, and delete all."""
        self.stop()
        shutil.rmtree(self.folder)

    def url(self, user, folder="INBOX", scheme="imaps"):
        """The URL of a folder of a user."""
        return f"{scheme}://{quote(user)}@localhost:{self.ports[scheme]}/{quote(folder)}"

    def deliver(self, user, *mails):
        """Deliver mails by LMTP, each as bytes; the server may be away for a while."""
        mails, end = list(mails), time.monotonic() + 30
        while mails:
            try:
                with smtplib.LMTP("127.0.0.1", self.ports["lmtp"], timeout=20) as lmtp:
                    while mails:
                        lmtp.sendmail("someone@example.org", [user], mails[0])
                        mails.pop(0)
            except (OSError, smtplib.SMTPException):
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def store(self, user, mails):
        """Write mails to where those of a user lie, without delivering them one by one."""
        folder = self.folder / "mail" / user / "Maildir"
        for name in ("cur", "new", "tmp"):
            (folder / name).mkdir(parents=True)
        for number, mail in enumerate(mails):
            (folder / "cur" / f"{number:06}.a.example.org:2,").write_bytes(mail)
        self._give_away(self.folder / "mail" / user)

    def _give_away(self, folder):
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)

    @contextmanager
    def client(self, user, folder="INBOX", *, readonly=False):
        """A client of a user with an open folder, as a program for mail is."""
        with IMAPClient("127.0.0.1", self.ports["imap"], ssl=False) as client:
            client.plain_login(user, PASSWORD)
            client.select_folder(folder, readonly=readonly)
            yield client

    def flags(self, user, folder="INBOX"):
        """The flags of each mail of a user, by UID, but for `\\Recent`, which nobody sets."""
        with self.client(user, folder, readonly=True) as client:
            found = client.get_flags(client.search())
        return {
            uid: {str(flag, "ascii") for flag in flags} - {"\\Recent"}
            for uid, flags in found.items()
        }

    def write_down(self, user):
        """Have all written down that clients of a user send, from now on."""
        folder = self.folder / "said" / user
        folder.mkdir()
        self._give_away(folder)

    def said(self, user):
        """What was sent, a file for each connection."""
        return (self.folder / "said" / user).glob("*.in")

    def log(self):
        """What it wrote down so far."""
        return (self.folder / "log").read_text(errors="replace")

    def marks(self, user):
        """How often each mail of a user was given other flags, by UID."""
        line = rf"imap\({re.escape(user)}\).* flag_change: box=INBOX, uid=(\d+)"
        return Counter(map(int, re.findall(line, self.log())))


def token(user):
    """An OAuth2 token of a user that the server trusts: a JSON Web Token (RFC 7519)."""
    claims = {"sub": user, "username": user, "exp": int(time.time()) + 3600}
    parts = [_base64(json.dumps(part)) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signature = hmac.digest(KEY, ".".join(parts).encode(), "sha256")
    return ".".join([*parts, _base64(signature)])


def write_certificate(folder, host="localhost"):
    """Write a certificate that signs itself, and its key."""
    made = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", "rsa:2048"]
    names = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
    subprocess.run([*made, *names, *files], check=True, capture_output=True)
    return folder / "certificate.pem"


def free_ports(count):
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [server.getsockname()[1] for server in servers]


def _answers(port):
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def _base64(part):
    data = part.encode() if isinstance(part, str) else part
    return urlsafe_b64encode(data).rstrip(b"=").decode()
