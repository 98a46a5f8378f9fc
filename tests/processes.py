"""Several processes of one run, as `accelerate launch` begins them, on loopback."""

import os
import subprocess
import sys

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def launch(processes, *program, **options):
    """Begin a program in so many processes, each with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    command = [*LAUNCH, f"--nproc_per_node={processes}", *map(str, program)]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finished(process):
    """What a launched program printed."""
    told, problems = process.communicate()
    assert process.returncode == 0, problems
    return told
