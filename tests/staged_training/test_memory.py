"""What is free to a process regards its limits, those of its container, and those beside it."""

import os
import subprocess
import sys

import psutil
import pytest

from staged_training.runtime import memory
from staged_training.runtime.memory import free_memory

GB = 2**30


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with 8 GB free, and a folder for control groups."""
    free = psutil.virtual_memory()._replace(available=8 * GB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    return tmp_path


def test_garbage_is_looked_for_again_once_modules_are_imported():
    code = """if True:
        import gc
        from staged_training.runtime.memory import importing
        for is_first in (True, False):
            with importing():
                assert gc.isenabled() != is_first
                lasting = [[] for _ in range(9)] if is_first else lasting
                if not is_first: made_later = [[]]
            assert gc.isenabled()
        looked_at = {id(thing) for thing in gc.get_objects()}
        assert id(lasting) not in looked_at and id(made_later) in looked_at
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_a_notebook_made_may_become_garbage():
    code = """if True:
        import gc, sys
        from staged_training.runtime.memory import importing
        gc.disable()
        with importing(): pass
        assert not gc.isenabled()
        gc.enable()
        import transformers
        with importing(): assert gc.isenabled()
        assert not gc.get_freeze_count()
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_limits_it_is_what_the_machine_has_free(machine):
    assert free_memory() == 8 * GB


def test_processes_of_a_run_on_one_machine_share_it(machine, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free_memory() == 2 * GB


@pytest.mark.parametrize("most, left", [(4 * GB, 2.5 * GB), (2 * GB, 0.5 * GB), ("max", 8 * GB)])
def test_a_container_leaves_what_it_has_not_taken_itself(most, left, machine):
    (machine / "memory.max").write_text(f"{most}\n")
    (machine / "memory.current").write_text(f"{3 * GB}\n")
    (machine / "memory.stat").write_text(f"anon {GB}\ninactive_file {1.5 * GB:.0f}\n")
    assert free_memory() == left


@pytest.mark.skipif(not psutil.LINUX, reason="of Linux")
@pytest.mark.parametrize("limit", ["RLIMIT_DATA", "RLIMIT_AS"])
def test_a_process_may_take_about_what_its_limit_leaves_to_it(limit):
    program = (
        "import resource, psutil\n"
        "from staged_training.runtime.memory import free_memory\n"
        "used = psutil.Process().memory_info()\n"
        f"most = used.data if {limit!r} == 'RLIMIT_DATA' else used.vms\n"
        f"resource.setrlimit(resource.{limit}, (most + 400 * 2**20, -1))\n"
        "free = int(free_memory())\n"
        "bytearray(free - 20 * 2**20)\n"
        "try:\n"
        "    bytearray(free + 20 * 2**20)\n"
        "except MemoryError:\n"
        "    print('refused', free)\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    told = subprocess.check_output([sys.executable, "-c", program], text=True, env=environment)
    refused, free = told.split()
    assert refused == "refused" and 350 * 2**20 < int(free) <= 400 * 2**20
