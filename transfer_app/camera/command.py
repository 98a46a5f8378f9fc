"""The command `nlp-transfer watch`."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from staged_training.recipe import check_filled
from staged_training.runtime.command import printable_errors
from staged_training.runtime.errors import InputError, flag
from staged_training.runtime.files import unwritable_reported
from transfer_app.camera import outlets
from transfer_app.camera.events import event_of
from transfer_app.camera.sources import RATE, open_source
from transfer_app.camera.visits import Rules
from transfer_app.camera.watcher import Watcher

_WHOLE_END, _STOPPED_END = 60.0, 2.0  # seconds for what is still to be told

_DESCRIPTION = """\
Watch a camera, a film or a folder into which pictures come; print a line of JSON for each visit:

  {"label": "cat", "score": 0.98, "from": "2026-11-29T07:02:11.500+01:00", "to": "..."}

The camera stands still, and nobody is before it at the start: what is new in the scene is cut out
and classified. What is unlike all that the model was trained on is `unsure`, as are two animals of
different labels. In a film, times are its seconds. The model was exported by `nlp-transfer export`;
PyTorch is not needed.
"""
_EPILOG = """\
to feed a cat as soon as it is sure that it is one:
  nlp-transfer watch /dev/video0 --model DIR --at arrival --on-event ./feed.sh
to tell a home automation:
  nlp-transfer watch rtsp://camera/stream --model DIR --mqtt mqtt://localhost/feeding/visits
to try it on a film:
  nlp-transfer watch film.mp4 --model DIR --pictures visits/
"""


def watch(arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        InputError: The source, the model or an argument cannot be used.
    """
    parser = _parser()
    with printable_errors():
        options = parser.parse_args(arguments)
    check_filled({name.upper(): value for name, value in vars(options).items()})
    at_arrival = options.at == "arrival"
    rules = Rules(options.window, options.pause, options.least, options.sure, at_arrival)
    for name, seconds in (("pause", options.pause), ("window", options.window)):
        if options.rate * seconds < 1:
            raise InputError(
                f"--{name} of {seconds:g} s is shorter than the time between two frames by "
                f"--rate {options.rate:g}. Give a longer one."
            )
    source = open_source(
        options.source, options.rate, options.threads, new=options.new, once=options.once
    )
    pictures = Path(options.pictures) if options.pictures else None
    if pictures:
        with unwritable_reported(pictures):
            pictures.mkdir(parents=True, exist_ok=True)
    with _opened(options.on_event, options.mqtt) as told:
        watcher = Watcher(
            options.model,
            rules,
            empty=options.empty,
            pictures=pictures is not None,
            threads=options.threads,
        )
        for visit in watcher.watch(source):
            event = event_of(visit, pictures)
            for outlet in told:
                outlet.tell(event)


@contextmanager
def _opened(command: str | None, address: str | None) -> Iterator[list[outlets.Outlet]]:
    """Open those who are told of visits; in the end they get what is still to be told."""
    told: list[outlets.Outlet] = [outlets.StandardOutput()]
    seconds = _STOPPED_END
    try:
        if command:
            told.append(outlets.Command(command))
        if address:
            told.append(outlets.Mqtt(address))
        yield told
        seconds = _WHOLE_END
    finally:
        for outlet in told:
            outlet.close(seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "nlp-transfer watch",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        help="a device (/dev/video0); an address (rtsp://, http://, tcp:// ...; the password of "
        "its user is taken from NLP_TRANSFER_CAMERA_PASSWORD); a film; or a folder into which "
        "pictures and clips come",
    )
    parser.add_argument("--model", required=True, help="folder of the model, with model.onnx in it")
    parser.add_argument(
        "--at",
        choices=["arrival", "departure"],
        default="departure",
        help="when to tell a visit: as soon as its label is sure (one that never is, when it has "
        "left), or as a whole when it has left, which is the default",
    )
    parser.add_argument(
        "--on-event",
        metavar="COMMAND",
        help="run a command for each visit, which gets the line on standard input",
    )
    parser.add_argument(
        "--mqtt",
        metavar="ADDRESS",
        help="publish each visit: mqtt://[USER@]HOST[:PORT]/TOPIC, or mqtts:// (by TLS); the "
        "password is taken from NLP_TRANSFER_MQTT_PASSWORD",
    )
    parser.add_argument(
        "--pictures", metavar="FOLDER", help="save the frame that shows each visit best"
    )
    numbers = parser.add_argument_group("what counts as a visit (seconds, but for --rate, --sure)")
    for name, default, text in (
        ("rate", RATE, "frames to look at in each second"),
        (
            "window",
            Rules.window,
            "frames are averaged over this time; it is also how long it takes "
            "until a label can be sure",
        ),
        ("pause", Rules.pause, "how long nobody is there before a visit has ended"),
        ("least", Rules.least, "shorter visits are not told"),
        ("sure", Rules.sure, "mean score that a label needs, else it is unsure"),
    ):
        numbers.add_argument(
            flag(name), type=float, default=default, metavar="N", help=f"{text} ({default:g})"
        )
    parser.add_argument(
        "--empty", metavar="LABEL", help="the label by which the model says that nobody is there"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads that compute (1)"
    )
    parser.add_argument(
        "--new", action="store_true", help="leave out what is in the folder at the start"
    )
    parser.add_argument(
        "--once", action="store_true", help="stop after what is in the folder at the start"
    )
    return parser
