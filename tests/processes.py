"""Several processes of one run, as `accelerate launch` begins them, and one without PyTorch."""

import ast
import os
import socket
import subprocess
import sys
import warnings
from contextlib import contextmanager

import torch
from accelerate.state import AcceleratorState
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.backend.context import set_start_method
from torch.multiprocessing import start_processes

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


def in_processes(count, work, *arguments):
    """Run a function in so many processes, each with one thread, that know of one another.

    They are forked: what is imported here, which takes seconds, they need not import.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    start_processes(_join, (count, port, work, arguments), count, start_method="fork")


@contextmanager
def forked_workers():
    """Let the workers of parallel work be forks of this process, for the same reason."""
    get_reusable_executor().shutdown()
    set_start_method("fork")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`fork` start method")
            yield
            get_reusable_executor().shutdown()
    finally:
        set_start_method(None, force=True)


def _join(rank, count, port, work, arguments):
    AcceleratorState._reset_state(reset_partial_state=True)  # this process is no longer alone
    torch.set_num_threads(1)
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(value) for name, value in ranks.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    work(*arguments)
