"""Notes each step of training in every process of a run, and lets its clock be set wrong.

Python imports this as it starts.
"""

import importlib.abc
import importlib.util
import os
import sys
import time
from pathlib import Path


class Spy(importlib.abc.MetaPathFinder):
    """Looks over the shoulder of `transformers.Trainer` from when it is imported."""

    def find_spec(self, name, path, target=None):
        if name != "transformers.trainer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            watch(module.Trainer)

        spec.loader.exec_module = exec_module
        return spec


def watch(trainer):
    file = os.open(os.environ["STEPS_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    training_step = trainer.training_step

    def noted(self, *args, **kwargs):
        result = training_step(self, *args, **kwargs)
        steps_of_epoch = self.state.max_steps / self.args.num_train_epochs
        line = f"{self.args.output_dir}\t{self.state.global_step}\t{steps_of_epoch}\n"
        os.write(file, line.encode())
        return result

    trainer.training_step = noted


def set_wrong(file):
    """Let the clock of the wall be wrong by so many seconds as a file says at the time."""
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + int(file.read_text())
    time.time_ns = lambda: nanoseconds() + 10**9 * int(file.read_text())


if "STEPS_FILE" in os.environ:
    sys.meta_path.insert(0, Spy())
    set_wrong(Path(os.environ["CLOCK_FILE"]))
