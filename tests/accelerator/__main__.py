"""Checks on an accelerator what depends on the device, one line each; exits 1 if any fails.

    make accelerator-check                         # or, where everything is installed:
    python -m tests.accelerator [--device cpu] [--only PART ...] [--limit SECONDS]

Tests that are marked `device`: frozen layers are frozen to the bit, stages on stored features end
as on the whole model, runs that were cut off resume to the bit, mixed precision, adapters. Every
recipe on a slice of its data, three in bf16. And the speed of a new head on an encoder, beside the
processor and beside the plain `Trainer`. Each check is a process of its own with a limit of time,
and leaves a log; `--device cpu` runs them all without an accelerator.
"""

import argparse
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import torch

from staged_training.runtime.markdown import markdown_table
from tests.accelerator.harness import run_checks
from tests.accelerator.recipe import SLICES

LOGS = Path("outputs") / "accelerator-check"
TESTS = {
    "frozen to the bit": "test_freezing.py",
    "features equal the whole model": "test_feature_reuse.py",
    "resumed to the bit": "test_trainer.py",
    "mixed precision": "test_precision.py",
}
IN_BF16 = ("email-urgency", "requests", "pet-detector")
HOW = {"plain": "`Trainer`, base frozen", "stored": "`StagedTrainer` on stored features"}


def checks_for(device):
    """The command of each check, by its name."""
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "device", "--device", device]
    recipe = ["-m", "tests.accelerator.recipe", device]
    files = {**TESTS, "adapters": "test_adapters.py"} if find_spec("peft") else TESTS
    checks = {name: [*tests, f"tests/staged_training/{file}"] for name, file in files.items()}
    checks |= {f"recipe {name}": [*recipe, name] for name in SLICES}
    checks |= {f"recipe {name} in bf16": [*recipe, name, "--precision", "bf16"] for name in IN_BF16}
    for where in dict.fromkeys(["cpu", device]):
        for precision in ["fp32"] if where == "cpu" else ["fp32", "bf16"]:
            command = ["-m", "tests.accelerator.speed", where, precision]
            checks[f"speed, {where}, {precision}"] = command
    return {name: [sys.executable, *command] for name, command in checks.items()}


def speeds(outputs):
    """The examples in a second that the checks of speed measured, as a table."""
    measured = {
        name.removeprefix("speed, "): dict(line.split("\t") for line in output.splitlines())
        for name, output in outputs.items()
        if name.startswith("speed, ")
    }
    rows = [[told, *(found[how] for found in measured.values())] for how, told in HOW.items()]
    return markdown_table(["examples a second", *measured], rows)


def main(argv=None):
    """Run the checks; return the exit status."""
    parser = argparse.ArgumentParser(
        "python -m tests.accelerator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=["cpu", "accelerator"], default="accelerator")
    parser.add_argument("--only", nargs="+", help="checks whose names hold one of these")
    parser.add_argument("--limit", type=float, help="seconds for each check")
    options = parser.parse_args(argv)
    if options.device == "accelerator" and not torch.accelerator.is_available():
        print("PyTorch finds no accelerator here; --device cpu runs the checks without one.")
        return 1
    checks = checks_for(options.device)
    if options.only:
        checks = {n: c for n, c in checks.items() if any(part in n for part in options.only)}
        if not checks:
            parser.error(f"no check has {' or '.join(options.only)} in its name")
    environment = {
        **os.environ,
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # else cuBLAS may add up in another order each time
        "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.getenv("PYTHONPATH", "")]),
        "TQDM_DISABLE": "1",
    }
    if options.device == "cpu":
        environment |= {"CUDA_VISIBLE_DEVICES": "", "LOKY_MAX_CPU_COUNT": "1"}
    elif torch.cuda.is_available():
        environment.setdefault("CUDA_VISIBLE_DEVICES", "0")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end the check at work, too
    if not find_spec("peft"):
        print(
            "Adapters are not checked, as PEFT is not installed: pip install 'nlp-transfer[lora]'."
        )
    limit = options.limit or (90 if options.device == "accelerator" else 300)
    outputs, failed = run_checks(checks, limit, LOGS, environment)
    if any(name.startswith("speed, ") for name in outputs):
        print(f"\n{speeds(outputs)}")
    print(f"\n{len(checks) - failed} of {len(checks)} checks passed; logs are in {LOGS}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
