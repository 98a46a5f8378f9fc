"""A run of a recipe, interrupted and resumed until it is done."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from tests.faults.changes import changed
from tests.faults.checks import broken_files, differences, epochs_lost, is_partial
from tests.faults.faults import (
    CLOCK,
    DAY,
    FULL,
    READ_ONLY,
    SIGNALS,
    Clock,
    Disk,
    content,
    possible,
    seconds_to_end,
    send,
)

SPY = Path(__file__).parent / "spy"
SLOW = 5  # seconds in which a process that is asked to stop should have ended
BEGINNING = 1.0  # seconds in which Python starts, and a signal still ends it in Python's way
POLL = 0.004
# Paths may hold blanks.
TOLD = re.compile(r"nlp-transfer: .+ cannot be (written|read or written) \(.+\)")
REFUSED = re.compile(r"nlp-transfer: .+ cannot be resumed: the content of .+ has changed\.")

MOMENTS = {"start": 0.15, "work": 0.3, "write": 0.4, "end": 0.15}
"""The moments of a run, and how often each kind is drawn: from its start to the end of start-up;
any time from then on; at a change of what is in the output folder; from the first file of the
finished model to the exit."""


@dataclass
class Life:
    """How long a run takes that nothing happens to: until it writes, until it keeps, in all."""

    started: float = 0.0
    kept: float = 0.0
    ended: float = 0.0


@dataclass
class Tally:
    """What was done to a recipe and what came of it."""

    recipe: str
    faults: dict[str, int] = field(default_factory=dict)
    moments: dict[str, int] = field(default_factory=dict)
    resumed: int = 0
    refused: int = 0  # of the times that the data were changed
    changes: int = 0
    chains: int = 0
    identical: int = 0
    lost: float | None = None  # where nothing is trained by `transformers.Trainer`
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)

    @property
    def count(self):
        return sum(self.faults.values())


class Workshop:
    """Where the runs of one recipe are made: a disk, a clock, a log, and what starts them.

    Args:
        folder: For all of it; it is made.
        data: The folder of what the recipe reads.
        arguments: Of `nlp-transfer`, without the output folder.
    """

    def __init__(self, folder, data, arguments):
        self.folder, self.data, self.arguments = folder, data, arguments
        self.temporary = folder / "temporary"
        self.temporary.mkdir(parents=True)
        self.disk, self.clock = Disk(folder / "disk"), Clock(folder)
        self.log, self.steps = folder / "log", folder / "steps"
        self.output = self.disk.path / "out"
        root = str(Path(__file__).parents[2])
        self.environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{SPY}:{root}",
            "STEPS_FILE": str(self.steps),
            "CLOCK_FILE": str(self.clock.file),
            "TMPDIR": str(self.temporary),
        }
        self._starter = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.starter"],
            env=self.environment,
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._starter.stdout.readline() == "ready\n"

    def close(self):
        self._starter.stdin.close()
        self._starter.wait()
        self.disk.remove()

    def start(self, output, *, copied):
        """Start a run in a copy of a process, or as a person does: its process, how to get its exit
        status, and when it began."""
        self.log.write_text("")
        self.clock.set(0)
        arguments = ["run", *self.arguments, "--output-dir", str(output), "--resume"]
        if copied:
            order = json.dumps({"log": str(self.log), "arguments": arguments})
            self._starter.stdin.write(order + "\n")
            self._starter.stdin.flush()
            process = psutil.Process(int(self._starter.stdout.readline()))
            return process, lambda: int(self._starter.stdout.readline()), time.monotonic()
        with self.log.open("a") as log:
            process = psutil.Popen(
                [sys.executable, "-m", "transfer_app.command_line", *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return process, process.wait, time.monotonic()

    def undisturbed(self, output):
        """Run without any fault; how long that takes."""
        life = Life()
        process, status, begun = self.start(output, copied=True)
        while _alive(process):
            now = time.monotonic() - begun
            if not life.started and _is_begun(output):
                life.started = now
            if not life.kept and _keeps(output):
                life.kept = now
            time.sleep(POLL)
        life.ended = time.monotonic() - begun
        if status() != 0:
            raise SystemExit(f"The run that nothing happens to failed:\n{self.log.read_text()}")
        assert not broken_files(output)
        return life


def interrupt(recipe, shop, kills, seed, tell, changes=0):
    """Interrupt runs until there were so many faults; every one that ends is compared.

    Between them the data are changed so many times, and the run is to be refused until they are
    what they were.
    """
    random = np.random.default_rng(seed)
    tally = Tally(recipe)
    whole = shop.folder / "whole"
    life = shop.undisturbed(whole)
    kinds = possible(shop.disk)
    while tally.count < kills:
        shutil.rmtree(shop.output, ignore_errors=True)
        shop.steps.write_text("")
        tally.chains += 1
        done = False
        while not done and len(tally.failures) < 20:
            quiet = tally.count >= kills
            done = _attempt(shop, life, kinds, random, tally, quiet=quiet)
            if not done and tally.changes * kills < changes * tally.count:
                _try_other_data(shop, random, tally)
            tell(tally)
        if done:
            found = differences(shop.output, whole)
            found += [f"{path.name}: left in TMPDIR" for path in shop.temporary.iterdir()]
            tally.identical += not found
            tally.failures += [f"chain {tally.chains}: {item}" for item in found]
            for path in shop.temporary.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if len(tally.failures) >= 20:
            break
    return tally


def _attempt(shop, life, kinds, random, tally, *, quiet):
    """Start or resume a run and do something to it; whether it is done."""
    kind, moment = random.choice(kinds), random.choice(list(MOMENTS), p=list(MOMENTS.values()))
    before = _steps(shop)
    resumes = _is_begun(shop.output)
    process, status, begun = shop.start(shop.output, copied=moment != "start")
    happened = False
    if not quiet:
        happened = _wait(process, shop.output, moment, life, random)
    since = time.monotonic() - begun
    seconds = 0.0
    if happened and kind in SIGNALS:
        send(kind, process)
        seconds = seconds_to_end(process)
    elif happened and kind == CLOCK:
        shop.clock.jump(int(random.choice([-DAY, DAY])), shop.output)
        _wait(process, shop.output, "write", life, random)
        send("SIGKILL", process)
    elif happened:
        left = int(random.integers(0, 300_000))
        fault = shop.disk.full(process, left) if kind == FULL else shop.disk.read_only()
        with fault:
            seconds_to_end(process)
    else:
        seconds_to_end(process)
    code, log = status(), shop.log.read_text()
    if after := _steps(shop)[len(before) :]:
        tally.lost = max(tally.lost or 0, epochs_lost(before, after))
    if happened and code != 0:
        tally.faults[str(kind)] = tally.faults.get(str(kind), 0) + 1
        tally.moments[str(moment)] = tally.moments.get(str(moment), 0) + 1
        if kind in ("SIGTERM", "Ctrl-C", "Ctrl-C to its group"):
            tally.slowest = max(tally.slowest, seconds)
    done = code == 0 or _is_finished(shop.output)
    problems = broken_files(shop.output)
    if not done:
        problems += _problems(code, log, str(kind), since, seconds, happened=happened)
    where = f"chain {tally.chains}, fault {tally.count} ({kind}, {moment}, {since:.1f} s)"
    tally.failures += [f"{where}: {problem}" for problem in problems]
    if problems:
        (shop.folder / f"failed-{len(tally.failures)}.log").write_text(log)
        shutil.copytree(shop.output, shop.folder / f"failed-{len(tally.failures)}")
        if not happened:
            shutil.rmtree(shop.output)  # it would fail so again and again
    elif resumes:
        tally.resumed += 1
    return done


def _try_other_data(shop, random, tally):
    """Resume a run on changed data, which is to be refused, and to leave its folder as it is."""
    if not _is_begun(shop.output):
        return
    before = _bytes_in(shop.output)
    with changed(shop.data, random) as change:
        process, status, _ = shop.start(shop.output, copied=True)
        seconds_to_end(process)
        code, log = status(), shop.log.read_text()
    tally.changes += 1
    problems = [] if code == 2 and REFUSED.search(log) else [f"ended with {code}: {log[-300:]}"]
    problems += ["said more than a line"] * ("Traceback" in log)
    after = _bytes_in(shop.output)
    problems += [f"changed {p}" for p in before.keys() | after if before.get(p) != after.get(p)]
    tally.refused += not problems
    tally.failures += [f"chain {tally.chains}, {change}: {problem}" for problem in problems]


def _is_begun(output):
    """Whether a run has noted what it was asked."""
    return (output / "runs" / "arguments.json").exists()


def _bytes_in(folder):
    """The content of files, but for what a worker whose parent was killed may still write."""
    files = [path for path in content(folder) if path.is_file() and not is_partial(path)]
    return {path: path.read_bytes() for path in files}


def _wait(process, output, moment, life, random):
    """Wait until a moment has come; whether the process is still there."""
    begun = time.monotonic()
    after = random.uniform(0, 0.01)
    if moment == "start":
        after = random.uniform(0, 1.2 * life.started + 4)
    elif moment == "work":
        after = random.uniform(0, 0.5 * (life.kept - life.started))
    elif moment == "end":
        after = random.uniform(0, life.ended - life.kept)
    changes = int(random.integers(1, 9))
    known = None
    came = begun if moment == "start" else None
    while _alive(process):
        now = time.monotonic()
        if came is None and (
            (moment == "work" and _is_at_work(output, begun))
            or (moment == "end" and _keeps(output))
            or (moment == "write" and changes <= 0)
        ):
            came = now
        if came is not None and now - came >= after:
            return True
        if moment == "write" and changes > 0 and _is_at_work(output, begun):
            found = content(output)
            changes -= known is not None and found != known
            known = found
        time.sleep(POLL)
    return False


def _is_at_work(output, begun):
    """Whether a run has made or opened its folder since then."""
    lock = output / "runs" / "lock"
    return lock.exists() and (output / "report").exists() and _locked(lock)


def _locked(lock):
    """Whether a process holds a lock on a file, by the kernel's list of locks."""
    try:
        number = lock.stat().st_ino
    except FileNotFoundError:
        return False
    return f":{number} " in Path("/proc/locks").read_text()


def _keeps(output):
    """Whether a run has begun to keep the finished model."""
    return output.exists() and any(
        path.name not in ("runs", "report") and not path.name.startswith(".")
        for path in output.iterdir()
    )


def _is_finished(output):
    """Whether a run has nothing more to do but to tell what came of it."""
    return (output / "report" / "results.json").exists() and not (output / "runs").exists()


def _problems(code, log, kind, since, seconds, *, happened):
    """What is wrong about how a process ended."""
    if not happened:
        return [f"ended with {code}: {log.strip()[-300:]}"]
    last = log.strip().splitlines()[-1] if log.strip() else ""
    if kind in ("SIGKILL", CLOCK):
        return [] if code == -9 else [f"ended with {code}: {last}"]
    if kind in (FULL, READ_ONLY):
        told = code == 2 and TOLD.search(log) and "Traceback" not in log
        return [] if told else [f"ended with {code}: {last}"]
    if since < BEGINNING and code in (1, -SIGNALS[kind], 128 + SIGNALS[kind]):
        return []
    found = [] if code == 128 + SIGNALS[kind] else [f"ended with {code}"]
    if "Traceback" in log or "stopped; continue with --resume" not in last:
        found.append(f"said: {log.strip()[-300:]}")
    if seconds > SLOW:
        found.append(f"took {seconds:.1f} seconds to end")
    return found


def _alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _steps(shop):
    """The lines of the spy about training in the output folder."""
    lines = shop.steps.read_text().splitlines() if shop.steps.exists() else []
    return [line for line in lines if line.startswith(str(shop.output))]
