"""Checks as processes: one line each, a limit of time, and none that stops the others."""

import os
import signal
import subprocess
import time


def run_checks(checks, limit, logs, environment=None):
    """Run commands one after another, and tell of each whether it passed and how long it took.

    Args:
        checks: The command of each check by its name; it passes if the exit status is 0.
        limit: Seconds after which a check is ended, with all that it started, and has failed.
        logs: A folder for what they print, a file each.
        environment: Their environment; by default that of this process.

    Returns:
        What those that passed printed on standard output, by their names, and how many failed.
    """
    logs.mkdir(parents=True, exist_ok=True)
    outputs, width = {}, max(map(len, checks), default=0)
    for name, command in checks.items():
        start = time.monotonic()
        output, problem = _run(command, limit, logs / f"{name.replace(' ', '-')}.log", environment)
        verdict = "FAIL" if problem else "PASS"
        told = f"{verdict}  {name:{width}}  {time.monotonic() - start:6.1f} s  {problem}"
        print(told.rstrip(), flush=True)
        if not problem:
            outputs[name] = output
    return outputs, len(checks) - len(outputs)


def _run(command, limit, log, environment):
    """Return what a command printed, and in a few words what went wrong, if it did."""
    errors = log.with_suffix(".errors.log")
    with log.open("w") as out, errors.open("w") as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
            start_new_session=True,  # to be ended with what it started
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return "", f"took longer than {limit:g} s"
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    output = log.read_text(errors="replace")
    if not status:
        return output, ""
    lines = [line for line in (errors.read_text(errors="replace") or output).splitlines() if line]
    return output, f"status {status}: {lines[-1].strip() if lines else 'no word'}"
