"""A recipe in two processes: it learns what one learns, ends when one is killed, and goes on."""

import contextlib
import json
import random
import time

import psutil
import pytest
from safetensors.torch import load_file

from tests.faults.slices import SLICES, flags_of
from tests.processes import finished, launch
from transfer_app.command_line import main

NOISE = 0.12  # of a quick run's CIDEr from seed to seed, which is the noisiest score


def in_two(*arguments, **options):
    return launch(2, "-m", "transfer_app.command_line", "run", *arguments, **options)


def metrics(folder):
    """The metrics of each model of a finished run."""
    results = json.loads((folder / "report" / "results.json").read_text())
    return {row["name"]: row["metrics"] for row in results["rows"]}


def process_of(launcher, rank):
    """One of the processes of a launched program, once it is there."""
    while True:
        assert launcher.poll() is None
        for child in psutil.Process(launcher.pid).children():
            if child.environ().get("RANK") == str(rank):
                return child
        time.sleep(0.1)


def test_all_end_when_one_is_killed_and_one_alone_goes_on(photos, tmp_path):
    flags = ["pet-classifier", "--data", str(photos), "--label-column", "species"]
    flags += ["--folds", "1", "--fine-tune", "--quick", "--output-dir", str(tmp_path / "out")]
    run = in_two(*flags)
    second = process_of(run, 1)
    runs = tmp_path / "out" / "runs"
    while not list(runs.glob("fold-1/**/_stages")):  # the top layers are trained now
        assert run.poll() is None
        time.sleep(0.1)
    second.kill()
    start = time.monotonic()
    run.communicate(timeout=60)
    assert run.returncode != 0
    assert time.monotonic() - start < 60
    assert not (tmp_path / "out" / "model.safetensors").exists()

    assert main(["run", *flags, "--resume"]) == 0
    assert metrics(tmp_path / "out")["linear probe on the bottleneck"]["accuracy"] > 0.8
    assert load_file(tmp_path / "out" / "model.safetensors")
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SLICES)
def test_whichever_is_killed_and_when_the_other_ends_and_one_alone_goes_on(recipe, tmp_path):
    flags = [*flags_of(recipe, tmp_path / "data"), "--output-dir", str(tmp_path / "out")]
    moments = random.Random(recipe)
    for rank in (1, 0, 1, 0):
        run = in_two(*flags, "--resume")
        process = process_of(run, rank)
        while run.poll() is None and not (tmp_path / "out" / "runs").exists():
            time.sleep(0.1)
        time.sleep(moments.uniform(0, 8))
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
        start = time.monotonic()
        run.communicate(timeout=60)
        print(f"{recipe}: rank {rank} killed, ended after {time.monotonic() - start:.1f} s")
        if run.returncode == 0:  # it was done before
            break
    else:
        assert main(["run", *flags, "--resume"]) == 0
    assert metrics(tmp_path / "out")
    assert not (tmp_path / "out" / "runs").exists()


def test_bad_input_is_told_and_nothing_is_written(tmp_path):
    run = in_two("pet-classifier", "--data", "nowhere", "--output-dir", str(tmp_path / "out"))
    _, problems = run.communicate(timeout=60)
    assert run.returncode != 0
    assert "nlp-transfer: nowhere: no such" in problems
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        ["email-urgency", "--base", "none"],
        ["email-urgency", "--vectors", "none"],
        ["word-embeddings"],
        ["pet-classifier", "--folds", "0", "--fine-tune"],
        ["pet-detector", "--folds", "0"],
        ["pet-captioner", "--folds", "0"],
        ["temporal-order"],
        ["rotation-pretraining"],
        ["ct-inpainting"],
    ],
    ids=" ".join,
)
def test_two_processes_score_what_one_does(recipe, tmp_path):
    flags = [*recipe, "--quick", "--output-dir"]
    assert main(["run", *flags, str(tmp_path / "one")]) == 0
    finished(in_two(*flags, str(tmp_path / "two")))
    one, two = (metrics(tmp_path / folder) for folder in ("one", "two"))
    # What a captioner says without an image is told of the best one alone, which may be another.
    names, others = ({n for n in of if not n.endswith("left out")} for of in (one, two))
    assert names == others
    for name in names:
        for metric, score in one[name].items():
            assert two[name][metric] == pytest.approx(score, abs=NOISE), (name, metric)
