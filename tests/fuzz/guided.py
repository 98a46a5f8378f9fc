"""One process of libFuzzer, by atheris: inputs are kept whose way through the readers is new.

`python -m tests.fuzz.guided TARGET CORPUS FINDINGS LIBFUZZER-OPTION ...`; see `tests.fuzz`.
"""

import hashlib
import sys
import tempfile
import traceback
from pathlib import Path

import atheris

from tests.fuzz.limits import cap_memory, failure, signature
from tests.fuzz.repair import packed, unpacked
from tests.fuzz.targets import TARGETS, written


def main(name: str, corpus: Path, findings: Path, options: list[str]) -> None:
    """Fuzz until the time is over, which ends the process. Each kind of failure is told once."""
    target = TARGETS[name]
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    first = next(iter(sorted(corpus.iterdir())))
    with atheris.instrument_imports(include=list(target.modules)):
        failure(target.read, written(target, first.read_bytes(), folder))  # imports the reader
    seen: set[str] = set()
    cap_memory()

    def one_input(content: bytes) -> None:
        if not content:
            return
        error = failure(target.read, written(target, content, folder))
        if error is not None and signature(error) not in seen:
            seen.add(signature(error))
            path = findings / f"{type(error).__name__}-{hashlib.sha256(content).hexdigest()[:12]}"
            path.write_bytes(content)
            told = "".join(traceback.format_exception(error))
            path.with_name(f"{path.name}.txt").write_text(f"{signature(error)}\n\n{told}")
            print(f"FINDING {path.name} {signature(error)}", flush=True)

    def mutated(content: bytes, most: int, seed: int) -> bytes:
        inner, is_packed = (content, False) if seed % 4 == 0 else unpacked(content)
        changed = atheris.Mutate(inner, most)
        return (changed if seed % 4 == 0 else packed(changed, is_packed))[:most]

    arguments = [sys.argv[0], *options, str(corpus)]
    atheris.Setup(arguments, one_input, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
