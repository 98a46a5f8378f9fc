"""One recipe on a slice of its data.

python -m tests.accelerator.recipe cpu|accelerator NAME [--flag ...]
"""

import json
import sys
import tempfile
from pathlib import Path

from tests.faults import slices

SLICES = {
    **slices.SLICES,
    "requests": (slices.texts, ["--label-column", "label", "--quick"]),
    "text-classifier": (slices.texts, ["--label-column", "label", "--quick"]),
}
WITHOUT_TRAINER = ("word-embeddings",)


def main(device, recipe, *flags):
    """Run a recipe; on an accelerator it must have computed there."""
    import torch

    from transfer_app.command_line import main as run

    make, own = SLICES[recipe]
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "data", Path(folder) / "out"
        data.mkdir()
        command = ["run", *recipe.split(), *make(data), *own, *flags, "--output-dir", str(out)]
        if status := run(command):
            return status
        assert json.loads((out / "report" / "results.json").read_text())["rows"]
    if device == "accelerator" and torch.cuda.is_available() and recipe not in WITHOUT_TRAINER:
        assert torch.cuda.max_memory_allocated(), "nothing was computed on the accelerator"
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
