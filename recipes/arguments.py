"""Arguments of a recipe: the fields of a dataclass, from flags, from a YAML file, or both."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import yaml
from transformers import HfArgumentParser

from recipes.flags import check_filled
from staged_training.reporting.hub import Destination, check_push
from staged_training.runtime.errors import InputError, flag

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Arguments = TypeVar("Arguments", bound="DataclassInstance")


MOST_SEED = 2**31  # those of later stages and runs are counted on from it, and end at 2**32


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the lines of the description, and adds the defaults to the flags."""


Tracker = Literal["none", "tensorboard", "trackio", "wandb"]
TRACKING = (
    "Where to watch the curves of training, in one run over all stages; `tensorboard` writes to a "
    "folder of that name in --output-dir."
)


@dataclass
class HubArguments:
    """The flags by which a recipe puts what it made on the Hub."""

    push_to_hub: str | None = field(
        default=None,
        metadata={"help": "Name on the Hub to upload what was made to, [OWNER/]NAME."},
    )
    hub_private_repo: bool = field(
        default=False, metadata={"help": "Let only the owner of that name see it."}
    )
    hub_revision: str | None = field(
        default=None, metadata={"help": "Branch to upload to; made if it is not there."}
    )
    create_pr: bool = field(
        default=False, metadata={"help": "Open a pull request in place of changing what is there."}
    )

    def destination(self) -> Destination | None:
        """Where to upload to, checked with the Hub; `None` if nothing is to be uploaded.

        Raises:
            InputError: An upload cannot work, see `check_push`.
        """
        if not self.push_to_hub:
            for name in ("hub_private_repo", "hub_revision", "create_pr"):
                if getattr(self, name):
                    raise InputError(
                        f"{flag(name)} says how to upload; give --push-to-hub NAME too."
                    )
            return None
        return check_push(
            Destination(self.push_to_hub, self.hub_private_repo, self.hub_revision, self.create_pr)
        )


def end_tracking(tracker: str) -> None:
    """Let the next training be a run of its own, which only `wandb` has to be told."""
    if tracker == "wandb":
        import wandb

        wandb.finish()


def parse_arguments(
    kind: type[Arguments], argv: Sequence[str] | None, command: str, description: str
) -> tuple[Arguments, HubArguments]:
    """Read arguments from flags, after the values of a YAML file if the first argument is one.

    Args:
        kind: A dataclass; each field is a flag, whose help is its metadata. The flags of
            `HubArguments` are added.
        argv: What followed the command; `None` for that of this process.
        command: The command, for the help.
        description: What it does, for the help.

    Raises:
        InputError: The YAML file is not a mapping of known fields, a flag is unknown, an argument
            is empty, or a seed is none.
        SystemExit: The value of a flag cannot be read, or the help was asked for.
    """
    parser = HfArgumentParser(
        cast(Any, (kind, HubArguments)),
        prog=command,
        description=description,
        usage=f"{command} [CONFIG.yaml] [--flag ...]",
        formatter_class=_HelpFormatter,
    )
    flags = list(sys.argv[1:] if argv is None else argv)
    if flags and flags[0].endswith((".yaml", ".yml")):
        flags = [*_flags_of(Path(flags[0]), kind), *flags[1:]]
    arguments, hub, unknown = parser.parse_args_into_dataclasses(
        flags, return_remaining_strings=True
    )
    if unknown:
        guesses = get_close_matches(unknown[0].replace("_", "-"), _flags(parser), 1)
        guess = f" Did you mean {guesses[0]}?" if guesses else ""
        raise InputError(f"{unknown[0]} is not known here.{guess} See {command} --help.")
    seed = getattr(arguments, "seed", 0)
    if not 0 <= seed < MOST_SEED:
        raise InputError(f"--seed is {seed}; give a whole number from 0 to {MOST_SEED - 1}.")
    check_filled({flag(k): v for part in (arguments, hub) for k, v in vars(part).items()})
    return arguments, hub


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    """The flags of a parser as the help of the guide writes them."""
    names = (name for action in parser._actions for name in action.option_strings)
    return [name for name in names if "_" not in name]


def check_positive(arguments: "DataclassInstance", *names: str) -> None:
    """Refuse arguments that are not above zero, by the names of their fields.

    Raises:
        InputError: One of them is not.
    """
    for name in names:
        value = getattr(arguments, name)
        if not 0 < value < float("inf"):
            raise InputError(f"{flag(name)} is {value}; give a positive number.")


def run_config(arguments: "DataclassInstance") -> dict[str, Any]:
    """The arguments that make a run what it is; one can be resumed only with the same."""
    return {
        name: value
        for name, value in dataclasses.asdict(arguments).items()
        if name not in ("output_dir", "resume", "report_to")
    }


def _flags_of(path: Path, kind: type) -> list[str]:
    """The values of a YAML file as flags, so that both are read alike."""
    if not path.exists():
        raise InputError(f"{path}: no such file. Check the path of the configuration.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    known = [field.name for part in (kind, HubArguments) for field in dataclasses.fields(part)]
    if not isinstance(values, dict) or not set(values) <= set(known):
        unknown = sorted(map(str, set(values) - set(known))) if isinstance(values, dict) else values
        raise InputError(
            f"{path}: {unknown} is not an argument of this recipe. Write one `name: value` per "
            f"line; the names are {', '.join(known)}."
        )
    flags: list[str] = []
    for name, value in values.items():
        several = value if isinstance(value, list) else [value]
        if any(isinstance(one, dict | list) for one in several):
            raise InputError(f"{path}: {name} is {value!r}; give a value, or a list of values.")
        if isinstance(value, list):
            flags += [f"--{name}", *map(str, value)]
        elif value is not None:
            flags.append(f"--{name}={value}")
    return flags
