"""`python -m tests.fuzz mails --minutes 10` fuzzes a reader; with FILE ... it reads these files.

Real files are the seeds. Findings go to `outputs/fuzz/TARGET/findings`, each a file that reproduces
it and a text that says how; what was counted is added to `outputs/fuzz/results.jsonl`. It needs the
extra `fuzz`. `python -m tests.fuzz model-folders`, which damages 1,000 folders of models, and
`python -m tests.fuzz demo`, which sends 1,000 hostile requests to each page of the demo, do not.
A reader returns or raises `InputError`, within 10 s of processor time and 1 GiB.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.fuzz.demo_requests import KINDS, attack
from tests.fuzz.limits import SECONDS, cap_memory, failure
from tests.fuzz.model_folders import MODELS, count_verdicts
from tests.fuzz.targets import TARGETS, written

_HANGS = 6 * SECONDS  # in real time, within a decoder that no signal stops


def main() -> int:
    """Fuzz, or read files again; returns 1 if there were findings."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=[*TARGETS, "model-folders", "demo"])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="findings to reproduce")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="of libFuzzer; 0 for another each time")
    parser.add_argument("--folder", type=Path, default=Path("outputs/fuzz"))
    options = parser.parse_args()
    if options.target == "model-folders":
        cap_memory()
        print(json.dumps(count_verdicts(MODELS, 1000, options.seed)))
        return 0
    if options.target == "demo":
        for kind in KINDS:
            with tempfile.TemporaryDirectory() as folder:
                print(kind, json.dumps(attack(kind, 1000, Path(folder), options.seed)), flush=True)
        return 0
    if options.files:
        return _again(options.target, options.files)
    counts = _fuzz(options.target, options.folder, options.minutes * 60, options.seed)
    with (options.folder / "results.jsonl").open("a") as file:
        file.write(json.dumps(counts) + "\n")
    print(json.dumps(counts))
    return 1 if counts["findings"] else 0


def _again(name: str, files: list[Path]) -> int:
    target = TARGETS[name]
    cap_memory()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            error = failure(target.read, written(target, file.read_bytes(), Path(folder)))
            print(f"{file}: {'as it should be' if error is None else ''}")
            if error is not None:
                traceback.print_exception(error)
                failed = True
    return int(failed)


def _fuzz(name: str, folder: Path, seconds: float, seed: int) -> dict[str, object]:
    """Run processes until the time is over: a decoder in C can end one before."""
    corpus, findings = folder / name / "corpus", folder / name / "findings"
    for path in (corpus, findings):
        path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as workspace:
        for file, content in TARGETS[name].seeds(Path(workspace)):
            (corpus / file).write_bytes(content)
    executions = coverage = crashes = 0
    begin = time.monotonic()
    while (left := int(seconds - (time.monotonic() - begin))) > 0:
        command = [sys.executable, "-m", "tests.fuzz.guided", name, str(corpus), str(findings)]
        command += [f"-max_total_time={left}", f"-timeout={_HANGS}", "-rss_limit_mb=8192"]
        command += [f"-artifact_prefix={findings}/", "-max_len=65536", "-print_final_stats=1"]
        command += [f"-seed={seed}"] if seed else []
        log = folder / name / "log.txt"
        with log.open("w") as output:
            ended = subprocess.run(command, stdout=output, stderr=output, check=False)
        text = log.read_text(errors="replace")
        runs = re.findall(r"^#(\d+)\s", text, re.M)
        executions += int(runs[-1]) if runs else 0
        coverage = max([coverage, *map(int, re.findall(r"cov: (\d+)", text))])
        if ended.returncode == 0:
            break
        crashes += 1
        log.replace(folder / name / f"crash-{crashes}.log")
        if not runs:  # it does not even begin
            break
    return {
        "target": name,
        "executions": executions,
        "seconds": round(time.monotonic() - begin),
        "coverage": coverage,
        "corpus": len(list(corpus.iterdir())),
        "crashes": crashes,
        "findings": len(list(findings.glob("*.txt"))) + crashes,
    }


if __name__ == "__main__":
    sys.exit(main())
