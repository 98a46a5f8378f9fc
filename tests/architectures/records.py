"""Records of what architectures did, as lines of JSON."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Record:
    """What one class did.

    Attributes:
        task: As in `Case`; so are `model_type` and `class_name`.
        model_type: Its architecture.
        class_name: Its class.
        parameters: How many it has.
        seconds: How long all checks took.
        groups: The names of its layer groups.
        status: By the name of a check: `ok`, `equal`, `warned`, `different`, `broken` or `crash`.
        reason: By the name of a check: what was said, where it is not well.
    """

    task: str
    model_type: str
    class_name: str
    parameters: int = 0
    seconds: float = 0.0
    groups: list[str] = field(default_factory=list)
    status: dict[str, str] = field(default_factory=dict)
    reason: dict[str, str] = field(default_factory=dict)


def written(record: Record) -> str:
    """Return a line of JSON."""
    return json.dumps(asdict(record)) + "\n"


def read(file: Path) -> list[Record]:
    """Read the records of a file."""
    return [Record(**json.loads(line)) for line in file.read_text().splitlines()]
