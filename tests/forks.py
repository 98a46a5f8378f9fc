"""Python code in forks of a process that has imported the libraries, which else takes seconds each.

As a script this is that process. It has imported nothing of this project, and runs no code but in
its forks, one after the other.
"""

import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from select import select
from types import ModuleType

ROOT = Path(__file__).parents[1]
LIBRARIES = "import sklearn.metrics, timm; from transformers import Trainer, pipeline"


class Forks:
    """The process that forks, and its last fork, of which it tells what `subprocess.Popen` does.

    Attributes:
        home: The `HF_HOME` of all forks.
        pid: The last fork, which leads a group of its own.
        returncode: Its exit status, `None` while it runs.
    """

    def __init__(self, python, folder, environment, imports=LIBRARIES):
        """Begin the process, with what it is to import; what forks print goes to the folder."""
        self.home = Path(environment["HF_HOME"])
        self._printed = [(folder / name).open("w+") for name in ("stdout", "stderr")]
        self._process = subprocess.Popen(
            [python, __file__, imports],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def begin(self, code, folder, *, with_project):
        """Begin code in a working folder."""
        for file in self._printed:
            file.seek(0)
            file.truncate()
        paths = [str(ROOT)] if with_project else []
        request = [code, str(folder), paths, [file.name for file in self._printed]]
        self._process.stdin.write(f"{json.dumps(request)}\n".encode())
        self.pid, self.returncode = self._answer(), None

    def _answer(self):
        return int(self._process.stdout.readline())

    def poll(self, wait=0):
        """Return the exit status once there is one, for which this may wait some seconds."""
        if self.returncode is None and select([self._process.stdout], [], [], wait)[0]:
            self.returncode = self._answer()
        return self.returncode

    def first_line(self):
        """Wait for a line on the standard output, or for the end."""
        line, ended = "", False
        while not line.endswith("\n") and not ended:
            ended = self.poll(0.02) is not None
            line += self._printed[0].readline()
        return line

    def communicate(self, timeout=None):
        """Wait for the end, and return what has been printed, without what was read before."""
        if self.poll(timeout) is None:
            raise subprocess.TimeoutExpired("the fork", timeout)
        return tuple(file.read() for file in self._printed)

    def wait(self):
        """Wait for the end, and return what `subprocess.run` returns."""
        told = self.communicate()
        return subprocess.CompletedProcess(self.pid, self.returncode, *told)

    def send_signal(self, number):
        """Send a signal to the fork alone."""
        os.kill(self.pid, number)

    def kill(self):
        """Kill the fork and what it began, unless it has ended."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        return self.wait()

    def close(self):
        """End the process that forks."""
        self._process.stdin.close()
        self._process.wait()
        for file in self._printed:
            file.close()


def run(code, folder, paths, printed):
    """Run code as `python -c` does, in the process that this is called in."""
    os.setsid()
    os.chdir(folder)
    for descriptor, file in enumerate([os.devnull, *printed]):
        os.dup2(os.open(file, os.O_RDWR | os.O_APPEND), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the suite may run in the background
    sys.path[:1] = paths  # in place of the folder of this script
    sys.argv = ["-c"]
    sys.modules["__main__"] = main = ModuleType("__main__")
    exec(compile(code, "<string>", "exec"), vars(main))


def serve():
    """Fork for each request until there are no more; a fork returns when its code ends."""
    exec(sys.argv[1], {})
    gc.freeze()
    for request in sys.stdin:
        if (child := os.fork()) == 0:
            return run(*json.loads(request))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
