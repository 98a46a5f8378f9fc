"""What must hold after every fault, and at the end."""

import json
import zipfile
from collections import defaultdict

from PIL import Image
from safetensors import safe_open

from staged_training.runtime.files import PARTIAL
from tests.faults.faults import content
from tests.faults.slices import scores


def broken_files(folder):
    """Files that are named like whole ones and are not."""
    return [
        f"{path.relative_to(folder)}: {error!r}"
        for path in sorted(content(folder))
        if path.is_file() and not is_partial(path)
        if (error := _error_of(path))
    ]


def is_partial(path):
    """Whether a file is being written, or in a folder that is; a killed run may leave it so."""
    return any(part.endswith(PARTIAL) for part in path.parts)


def _error_of(path):
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118
                    file.get_tensor(name)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in (".pt", ".pth"):
            with zipfile.ZipFile(path) as file:
                assert file.testzip() is None
        elif path.suffix == ".png":
            Image.open(path).load()
        elif path.name == "index.html":
            assert path.read_text().rstrip().endswith("</html>")
        elif path.suffix in (".md", ".txt", ".py"):
            assert path.read_text().endswith("\n")
    except Exception as error:
        return error if path.exists() else None  # a worker whose parent was killed may remove it
    return None


def differences(folder, whole):
    """In what the output of a run that was interrupted differs from that of one that was not."""
    files = [{str(p.relative_to(f)) for p in f.rglob("*")} for f in (folder, whole)]
    found = [f"{name}: left over" for name in sorted(files[0] - files[1])]
    found += [f"{name}: missing" for name in sorted(files[1] - files[0])]
    for name in sorted(files[0] & files[1]):
        one, other = folder / name, whole / name
        if name == "report/results.json":
            same = scores(one) == scores(other)
        else:
            exact = one.suffix in (".safetensors", ".txt", ".py") or one.name in EXACT
            same = not exact or one.read_bytes() == other.read_bytes()
        if not same:
            found.append(f"{name}: differs")
    return found


EXACT = ("config.json", "tokenizer.json", "preprocessor_config.json", "processor_config.json")


def epochs_lost(before, after):
    """How many epochs of training were done a second time, at most in one piece of work.

    Args:
        before: The lines that `spy` had written when a run was interrupted.
        after: Those that it wrote when that went on.
    """
    reached: dict[str, float] = defaultdict(float)
    for folder, step, steps_of_epoch in map(_parsed, before):
        reached[folder] = max(reached[folder], (step + 1) / steps_of_epoch)
    lost = 0.0
    begun = set()
    for folder, step, steps_of_epoch in map(_parsed, after):
        if folder not in begun:
            begun.add(folder)
            lost = max(lost, reached[folder] - step / steps_of_epoch)
    return lost


def _parsed(line):
    folder, step, steps_of_epoch = line.split("\t")
    return folder, int(step), float(steps_of_epoch)
