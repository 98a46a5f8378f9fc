"""Starts runs in copies of a process that has imported what they need, which saves seconds each.

It takes a line of JSON for each run, `{"log": file, "arguments": [...]}`, answers with the number
of the process, and with its exit status when that has ended.
"""

import json
import os
import sys

import datasets  # noqa: F401
import matplotlib.figure  # noqa: F401
import timm  # noqa: F401
import torchvision  # noqa: F401
import transformers
from sklearn import linear_model, metrics, model_selection  # noqa: F401

from transfer_app.command_line import main


def start(order):
    process = os.fork()
    if not process:
        os.setsid()
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, file in enumerate((nothing, log, log)):
            os.dup2(file, number)
        sys.exit(main(order["arguments"]))
    print(process, flush=True)
    _, status = os.waitpid(process, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    assert transformers.Trainer and transformers.AutoModel  # imported when first asked for
    print("ready", flush=True)
    for line in sys.stdin:
        start(json.loads(line))
