"""Several processes of one run, as `accelerate launch` begins them, and one without PyTorch."""

import ast
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


def printed_without_torch(code, folder):
    """The value that code prints in a folder, in a process without PyTorch and Transformers."""
    without = "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
    command = [sys.executable, "-c", without + code]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ast.literal_eval(ran.stdout)
