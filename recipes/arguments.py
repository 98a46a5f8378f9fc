"""Arguments of a recipe: the fields of a dataclass, from flags, from a YAML file, or both."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import yaml
from transformers import HfArgumentParser

from staged_training import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Arguments = TypeVar("Arguments", bound="DataclassInstance")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the lines of the description, and adds the defaults to the flags."""


def parse_arguments(
    kind: type[Arguments], argv: Sequence[str] | None, command: str, description: str
) -> Arguments:
    """Read arguments from flags, after the values of a YAML file if the first argument is one.

    Args:
        kind: A dataclass; each field is a flag, whose help is its metadata.
        argv: What followed the command; `None` for that of this process.
        command: The command, for the help.
        description: What it does, for the help.

    Raises:
        InputError: The YAML file is not a mapping of known fields.
        SystemExit: A flag is unknown, or the help was asked for.
    """
    parser = HfArgumentParser(
        cast(Any, kind),
        prog=command,
        description=description,
        usage=f"{command} [CONFIG.yaml] [--flag ...]",
        formatter_class=_HelpFormatter,
    )
    flags = list(sys.argv[1:] if argv is None else argv)
    if flags and flags[0].endswith((".yaml", ".yml")):
        parser.set_defaults(**_read_yaml(Path(flags.pop(0)), kind))
    (arguments,) = parser.parse_args_into_dataclasses(flags)
    return arguments


def what_was_asked(arguments: "DataclassInstance") -> dict[str, Any]:
    """The arguments that make a run what it is; one can be resumed only with the same."""
    return {
        name: value
        for name, value in dataclasses.asdict(arguments).items()
        if name not in ("output_dir", "resume", "push_to_hub")
    }


def _read_yaml(path: Path, kind: type) -> dict[str, object]:
    if not path.exists():
        raise InputError(f"{path}: no such file. Check the path of the configuration.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    known = [field.name for field in dataclasses.fields(kind)]
    if not isinstance(values, dict) or not set(values) <= set(known):
        unknown = sorted(set(values) - set(known)) if isinstance(values, dict) else values
        raise InputError(
            f"{path}: {unknown} is not an argument of this recipe. Write one `name: value` per "
            f"line; the names are {', '.join(known)}."
        )
    return values
