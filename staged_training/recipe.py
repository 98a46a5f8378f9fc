"""What every recipe begins with: arguments from flags or a YAML file, and what comes with it."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr as beginning
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from staged_training.runtime.command import printable_errors, run_command
from staged_training.runtime.errors import InputError, flag

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from staged_training.reporting.hub import Destination

Arguments = TypeVar("Arguments", bound="RunArguments")

MOST_SEED = 2**31  # those of later stages and runs are counted on from it, and end at 2**32

_INSTALLED = Path(__file__).parents[1] / "transfer_app" / "recipes"
RECIPES = _INSTALLED if _INSTALLED.exists() else Path(__file__).parents[1] / "recipes"
"""The folder of the recipes, with their data and the templates of their cards."""


def option(default: Any, description: str, *, may_be_blank: bool = False) -> Any:
    """Return a field of a dataclass of arguments.

    Args:
        default: Its default.
        description: Its text for `--help`.
        may_be_blank: Whether a space is a value of it, and not an unset variable of the shell.
    """
    metadata = {"help": description, "may_be_blank": may_be_blank}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class RunArguments:
    """Arguments of every recipe; each field is a flag, those of a recipe itself come first."""

    seed: int = option(0, "Random seed.")
    output_dir: str = option("", "Folder of the model and the report.")
    resume: bool = option(False, "Resume an interrupted run in --output-dir.")
    quick: bool = option(False, "A quick check: one epoch per stage.")
    precision: Literal["fp32", "bf16", "fp16"] = option(
        "fp32", "Numbers that `Trainer` computes with; bf16 and fp16 are mixed precision."
    )
    report_to: Literal["none", "tensorboard", "trackio", "wandb"] = option(
        "none",
        "Where to log training curves, as one run over all stages; `tensorboard` writes "
        "to a folder of that name in --output-dir.",
    )
    push_to_hub: str | None = option(
        None, "Repository on the Hub to upload the results to, [OWNER/]NAME."
    )
    hub_private_repo: bool = option(False, "Make a new repository private.")
    hub_revision: str | None = option(None, "Branch to upload to; made if it is not there.")
    create_pr: bool = option(False, "Open a pull request instead of committing to the branch.")

    def destination(self) -> "Destination | None":
        """Return where to upload to, checked with the Hub; `None` without an upload.

        Raises:
            InputError: An upload cannot work, see `check_push`.
        """
        if not self.push_to_hub:
            for name in ("hub_private_repo", "hub_revision", "create_pr"):
                if getattr(self, name):
                    raise InputError(f"{flag(name)} says how to upload; give --push-to-hub NAME.")
            return None
        from staged_training.reporting.hub import Destination, check_push

        return check_push(
            Destination(self.push_to_hub, self.hub_private_repo, self.hub_revision, self.create_pr)
        )


_NOT_OF_THE_RESULT = {
    *("output_dir", "resume", "report_to"),
    *("push_to_hub", "hub_private_repo", "hub_revision", "create_pr"),
}


def run_config(arguments: RunArguments) -> dict[str, Any]:
    """Return the arguments that results depend on; a resumed run must have the same."""
    return {
        name: value
        for name, value in dataclasses.asdict(arguments).items()
        if name not in _NOT_OF_THE_RESULT
    }


def parse_arguments(
    kind: type[Arguments], argv: Sequence[str] | None, name: str, description: str | None
) -> Arguments:
    """Read arguments from flags, after the values of a YAML file if the first argument is one.

    PyTorch is not needed for it, so that help and mistakes are answered at once.

    Args:
        kind: The dataclass of the arguments.
        argv: What followed the command; `None` for the arguments of this process.
        name: The name of the recipe.
        description: What it does, for the help.

    Raises:
        InputError: The YAML file is not a mapping of known fields, a flag is unknown, an argument
            is empty, or a seed is out of range.
        SystemExit: The value of a flag cannot be read, or the help was asked for.
    """
    command = f"nlp-transfer run {name}"
    parser = _parser(kind, command, description)
    parser.set_defaults(output_dir=f"outputs/{name}")
    flags = list(sys.argv[1:] if argv is None else argv)
    if flags and flags[0].endswith((".yaml", ".yml")):
        flags = [*_flags_of(Path(flags[0]), parser), *flags[1:]]
    with printable_errors():
        options, unknown = parser.parse_known_args(flags)
    if unknown:
        known = [f for action in parser._actions for f in action.option_strings if "_" not in f]
        guesses = get_close_matches(unknown[0].replace("_", "-"), known, 1)
        guess = f" Did you mean {guesses[0]}?" if guesses else ""
        raise InputError(f"{unknown[0]} is not known here.{guess} See {command} --help.")
    if not 0 <= options.seed < MOST_SEED:
        most = MOST_SEED - 1
        raise InputError(f"--seed is {options.seed}; give a whole number from 0 to {most}.")
    may_be_blank = {one.name for one in dataclasses.fields(kind) if one.metadata["may_be_blank"]}
    given = {name: value for name, value in vars(options).items() if name not in may_be_blank}
    check_filled({flag(name): value for name, value in given.items()})
    return kind(**vars(options))


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the lines of the description, and adds the defaults to the flags."""


def _parser(
    kind: type[RunArguments], command: str, description: str | None
) -> argparse.ArgumentParser:
    """Return a parser of flags named after the fields of a dataclass.

    `HfArgumentParser` makes such a parser too, but to import it takes a second.
    """
    parser = argparse.ArgumentParser(
        command,
        usage=f"{command} [CONFIG.yaml] [--flag ...]",
        description=description,
        formatter_class=_HelpFormatter,
    )
    hints = get_type_hints(kind)
    of_all = [field.name for field in dataclasses.fields(RunArguments)]
    for one in sorted(dataclasses.fields(kind), key=lambda field: field.name in of_all):
        names = dict.fromkeys([flag(one.name), f"--{one.name}"])
        made = one.default_factory
        default = one.default if made is dataclasses.MISSING else made()
        about = one.metadata["help"]
        parser.add_argument(*names, default=default, help=about, **_reading(hints[one.name]))
        if default in (True, None) and bool in (hints[one.name], *get_args(hints[one.name])):
            off = dict.fromkeys(["--no-" + name.removeprefix("--") for name in names])
            parser.add_argument(*off, dest=one.name, action="store_false", help=argparse.SUPPRESS)
            parser.set_defaults(**{one.name: default})
    return parser


def _reading(hint: Any) -> dict[str, Any]:
    """Return how `argparse` reads values of a type."""
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if hint is bool:
        return {"type": _truth, "nargs": "?", "const": True}
    kinds = [part for part in get_args(hint) if part is not NoneType]
    if get_origin(hint) is list:
        return {"type": kinds[0], "nargs": "+"}
    return _reading(kinds[0]) if kinds else {"type": hint}


def _truth(text: str) -> bool:
    """Parse a truth value as YAML and people write it."""
    values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        return values[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false") from None


def _flags_of(path: Path, parser: argparse.ArgumentParser) -> list[str]:
    """Return the values of a YAML file as flags, so that both are read alike."""
    from staged_training.runtime.yaml_files import read_yaml

    if not path.exists():
        raise InputError(f"{path}: no such file. Check the path of the configuration.")
    values, lines = read_yaml(path)
    switches_off = argparse._StoreFalseAction
    actions = {
        action.dest: action
        for action in parser._actions
        if action.dest != "help" and not isinstance(action, switches_off)
    }
    if not isinstance(values, dict) or not values.keys() <= actions.keys():
        unknown = beginning(values)
        if isinstance(values, dict):
            unknown = ", ".join(f"{n} (line {lines[n]})" for n in lines if n not in actions)
        raise InputError(
            f"{path}: {unknown} is not an argument of this recipe. Write one `name: value` per "
            f"line; the names are {', '.join(actions)}."
        )
    flags: list[str] = []
    for name, value in values.items():
        if value is None:
            continue
        several = value if isinstance(value, list) else [value]
        many = actions[name].nargs == "+"
        if not all(isinstance(one, str) for one in several) or (len(several) > 1 and not many):
            what = "a value, or a list of values" if many else "one value"
            told = f"{name} is {beginning(value)}; give {what}."
            raise InputError(f"{path}, line {lines[name]}: {told}")
        try:
            for one in several:
                parser._check_value(actions[name], parser._get_value(actions[name], one))
        except argparse.ArgumentError as error:
            raise InputError(f"{path}, line {lines[name]}: {error}.") from error
        flags += [f"--{name}", *value] if isinstance(value, list) else [f"--{name}={value}"]
    return flags


def check_positive(arguments: "DataclassInstance", *names: str) -> None:
    """Refuse arguments that are given and not above zero, by the names of their fields.

    Raises:
        InputError: One of them is not.
    """
    for name in names:
        value = getattr(arguments, name)
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{flag(name)} is {value}; give a positive number.")


def check_filled(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that are empty, as from an unset variable, or hold a zero byte.

    Raises:
        InputError: One of them, or a part of one that takes several, is.
    """
    for name, value in arguments.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, str) and not part.strip():
                raise InputError(
                    f"{name} is empty. Give a value (is a variable of the shell not set?), or "
                    "leave it out."
                )
            if isinstance(part, str) and "\0" in part:
                raise InputError(f"{name} holds a zero byte. Write it without.")


def run_script(main: Callable[[], None]) -> int:
    """Run a recipe as a script; return its exit status, see `run_command`."""
    return run_command(main, resumes=True)
