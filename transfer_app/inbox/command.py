"""`nlp-transfer mark`: its flags, and what it does with them."""

import argparse
from contextlib import closing
from datetime import date
from pathlib import Path

from staged_training.runtime.errors import InputError
from transfer_app.inbox.credentials import CREDENTIAL, PASSWORD
from transfer_app.inbox.mailbox import URGENT, Marks, Wanted

_DESCRIPTION = """\
Mark mail where it lies, as a trained model says. On a server, mail that it takes for urgent gets a
keyword, which mail programs show as a label or filter by; in a Maildir it gets the flag F, a star;
an mbox is copied with a header X-Urgency in each mail.

Mail that is there is looked at first, then mail that comes, until the command is stopped. None is
deleted or counts as read. Each is looked at once: what was done is kept in a file on this computer,
without a word of any mail, so that a restart marks nothing twice and misses nothing, and what you
change by hand stays changed. A connection that is lost is made again.
"""

_EPILOG = f"""\
The password is taken from the environment ({PASSWORD}), from a credential of systemd
({CREDENTIAL}) or from the keyring (`keyring set HOST USER`), or else asked for.

  nlp-transfer mark imaps://ann@imap.example.org/INBOX --model my-urgency --dry-run --once
  nlp-transfer mark imaps://ann@imap.example.org/INBOX --model my-urgency --flag --since 2026-11-01
  nlp-transfer mark ~/Maildir --model my-urgency
  nlp-transfer mark inbox.mbox --model my-urgency --output marked.mbox
"""

_LONGEST = 25 * 60  # seconds; a server may hang up after 30 minutes without a word

_IN_PLACE = ["since", "unseen", "keyword", "flag", "move", "token_command", "state", "learn_from"]
"""The flags that an mbox has no use for."""


def new_parser() -> argparse.ArgumentParser:
    """Return the parser of the flags."""
    parser = argparse.ArgumentParser(
        "nlp-transfer mark",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="imaps://USER@HOST[:PORT]/FOLDER, a Maildir, or an mbox; in a URL a blank is %%20, "
        "and imap, without encryption, is for this computer only",
    )
    parser.add_argument(
        "--model", required=True, metavar="DIR", help="folder of the model, or its name on the Hub"
    )
    which = parser.add_argument_group("which mails")
    which.add_argument(
        "--label", help="mark mails of this label; by default the one that matters to the model"
    )
    which.add_argument(
        "--threshold",
        type=float,
        metavar="SCORE",
        help="mark mails whose score of the label is at least this; by default the model decides, "
        "as in `predict`",
    )
    which.add_argument(
        "--since", type=_day, metavar="DATE", help="look at mails of this day (2026-11-30) or later"
    )
    which.add_argument("--unseen", action="store_true", help="look at mails that nobody has read")
    how = parser.add_argument_group("how")
    how.add_argument("--once", action="store_true", help="end when what is there is marked")
    how.add_argument(
        "--dry-run", action="store_true", help="say what would be marked, and change nothing"
    )
    how.add_argument("--keyword", help=f"the keyword that mails on a server get ({URGENT})")
    how.add_argument("--flag", action="store_true", help="flag mails on a server, too (a star)")
    how.add_argument("--move", metavar="FOLDER", help="move marked mails to this folder, too")
    how.add_argument("--output", metavar="FILE", help="the copy of an mbox, a new file")
    how.add_argument(
        "--explain", action="store_true", help="say which words mattered; takes PyTorch, and time"
    )
    how.add_argument(
        "--every",
        type=float,
        default=30,
        metavar="SECONDS",
        help="look for new mail so often where a server does not tell of it at once (30)",
    )
    how.add_argument(
        "--token-command",
        metavar="COMMAND",
        help="log in by OAuth2, with the token that this command prints",
    )
    how.add_argument(
        "--state", metavar="FILE", help="keep here what was done; by default in ~/.local/state"
    )
    how.add_argument(
        "--learn-from",
        metavar="FILE",
        help="add mails that you correct, by giving or taking the mark by hand, to this table of "
        "texts and labels (.csv, .tsv, .jsonl, .parquet), to train the next model on; of a mail "
        "the first correction counts",
    )
    return parser


def mark(options: argparse.Namespace) -> None:
    """Mark mail.

    Raises:
        InputError: The source, the model or a flag cannot be used.
    """
    from transfer_app.inbox.source import ServerFolder, parse_source

    place = parse_source(options.source)
    if not isinstance(place, ServerFolder) and place.is_file():
        print(_mark_copy(place, options))
        return
    if options.output:
        raise InputError(
            f"{options.source}: is marked where it lies. `output` is for the copy of an mbox.",
            ["output"],
        )
    if not 1 <= options.every <= _LONGEST:
        told = f"`every` is {options.every:g}. Give 1 to {_LONGEST} seconds."
        raise InputError(told, ["every"])
    _mark_in_place(options)


def _mark_in_place(options: argparse.Namespace) -> None:
    from transfer_app.inbox import Marker, mailbox_at

    marks = None
    if options.keyword or options.flag or options.move:
        marks = Marks(options.keyword or URGENT, options.flag, options.move)
    mailbox = mailbox_at(
        options.source,
        marks,
        Wanted(options.since, options.unseen),
        token_command=options.token_command,
        every=options.every,
        read_only=options.dry_run,
    )
    marker = Marker(
        mailbox,
        options.model,
        label=options.label,
        threshold=options.threshold,
        explained=options.explain,
        journal=_path(options.state),
        learn_from=_path(options.learn_from),
    )
    with closing(marker):
        if not options.once:
            marker.run()
        print(marker.once())


def _mark_copy(source: Path, options: argparse.Namespace) -> object:
    from transfer_app.inbox.decision import Decider
    from transfer_app.inbox.mbox import check_copy, mark_mbox
    from transfer_app.inbox.telling import tell_drift

    for name in _IN_PLACE:
        if getattr(options, name):
            raise InputError(f"{source}: is an mbox, which is copied without `{name}`.", [name])
    output = None if options.dry_run else _path(options.output)
    if output:
        check_copy(source, output)
    elif not options.dry_run:
        raise InputError(
            f"{source}: an mbox is copied, with a header in each mail. Name the copy by `output`, "
            "or look what would be marked by `dry_run`.",
            ["output", "dry_run"],
        )
    decider = Decider(options.model, options.label, options.threshold, options.explain)
    summary = mark_mbox(source, decider, output)
    tell_drift(decider)
    return summary


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no day, such as 2026-11-30") from error


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)
