"""Try every architecture, a line of JSON for each: `python -m tests.architectures FILE [WORD ...]`.

With words, only the classes that have one of them in their names or tasks.
"""

import sys
from pathlib import Path

import torch
import transformers

from tests.architectures.cases import cases
from tests.architectures.checks import check
from tests.architectures.records import written


def main(file: str, *words: str) -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    chosen = [c for c in cases() if not words or any(word in f"{c.task} {c}" for word in words)]
    with Path(file).open("w") as stream:
        for case in chosen:
            record = check(case)
            stream.write(written(record))
            stream.flush()
            print(f"{case.task}: {case} ({record.seconds} s)", record.status, file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
