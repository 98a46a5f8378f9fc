"""Contestants take turns; ratios, verdicts and the page tell what came of them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from contest import Row, Section, compared, shown, take_turns
from growth import slopes
from page import draw, page

BENCHMARK = '''"""Two contestants.

They count rounds.
"""

import sys

sys.path.insert(0, {benchmarks!r})
from contest import Section, compared, run_benchmark, take_turns


def compete(contestant, arguments):
    print("what a library says")
    if contestant == arguments.fails:
        raise ValueError("no legs")
    return {{"seconds": {{"hare": 1.0, "tortoise": 4.0}}[contestant] + arguments.round}}


def measure(arguments):
    results = take_turns(__file__, ["hare", "tortoise"], arguments.runs)
    rows = compared(results, "seconds", ["tortoise"], "a race", own="hare")
    return Section(__doc__, results, rows, {{"the hare wins twice over": arguments.runs < 4}})


def options(parser):
    parser.add_argument("--fails")


sys.exit(run_benchmark(__doc__, compete, measure, options))
'''


LATE = """
import json
import subprocess
import sys
from pathlib import Path

if "tortoise" in sys.argv:
    with subprocess.Popen(["sleep", "600"]) as sleep:
        Path(__file__).with_name("sleep").write_text(str(sleep.pid))
print(json.dumps({"seconds": 1.0}))
"""


def row(own, others, **settings):
    return Row("a race", "tortoise", "s", own, others, **settings)


@pytest.fixture
def section():
    results = {
        "toolkit": [{"seconds": 1.0, "peak MB": 100.0}, {"seconds": 2.0, "peak MB": 100.0}],
        "tortoise": [{"seconds": 4.0, "peak MB": 50.0}, {"seconds": 4.0, "peak MB": 50.0}],
        "snail": [{"seconds": 40.0}],
    }
    rows = compared(results, "seconds", ["tortoise", "fox"], "a race")
    rows += compared(results, "peak MB", ["tortoise"], "memory", "MB")
    targets = {"faster than a tortoise": True, "lighter than a tortoise": False}
    return Section(
        "A race.\n\nOver a mile.\n\n    run it\n", results, rows, targets, ["It rained."]
    )


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "race.py"
    path.write_text(BENCHMARK.format(benchmarks=str(Path(sys.modules["contest"].__file__).parent)))
    return path


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=120
    )


def test_a_ratio_tells_how_many_times_better_the_toolkit_is():
    assert row([1.0, 2.0], [4.0, 4.0]).ratios == [4.0, 2.0]
    assert row([0.9], [0.6], more_is_better=True).ratios == [pytest.approx(1.5)]
    assert row([1.0, 1.0, 1.0], [2.0, 30.0, 400.0]).spread == "30.0x (2.00x to 400x)"


@pytest.mark.parametrize(
    ("own", "others", "verdict"),
    [
        ([1.0, 1.0], [1.1, 2.0], "ahead"),
        ([1.0, 1.0], [0.9, 2.0], "level"),
        ([1.0, 1.0], [1.0, 2.0], "level"),
        ([1.0, 1.0], [0.9, 0.5], "behind"),
    ],
)
def test_only_what_every_round_says_is_a_verdict(own, others, verdict):
    assert row(own, others).verdict == verdict


def test_scores_of_nothing_have_ratios():
    scores = row([0.0, 0.5, 0.0], [0.0, 0.0, 0.5], more_is_better=True)
    assert scores.ratios == [1.0, np.inf, 0.0]
    assert scores.verdict == "level"


def test_figures_keep_three_digits():
    assert [shown(x) for x in (1234.5, 12.345, 0.012345, 3.0, None)] == [
        "1,234",
        "12.3",
        "0.0123",
        "3",
        "",
    ]


def test_peers_that_did_not_run_are_left_out(section):
    assert [(r.what, r.peer) for r in section.rows] == [
        ("a race", "tortoise"),
        ("memory", "tortoise"),
    ]


def test_a_section_is_read_as_it_was_written(section, tmp_path):
    section.save(tmp_path / "section.json")
    assert Section.load(tmp_path / "section.json") == section


def test_contestants_take_turns_in_processes_of_their_own(script, tmp_path):
    finished = run(script, "--runs", "2", "--save", str(tmp_path / "race.json"))
    assert finished.returncode == 0, finished.stderr
    assert "ahead   a race, to tortoise: 3.25x (2.50x to 4.00x)" in finished.stdout
    turns = [line.split(":")[0].strip() for line in finished.stderr.splitlines()]
    assert turns == ["hare, 1 of 2", "tortoise, 1 of 2", "hare, 2 of 2", "tortoise, 2 of 2"]
    results = Section.load(tmp_path / "race.json").results
    assert [figures["seconds"] for figures in results["hare"]] == [1.0, 2.0]
    assert all(0 < f["peak MB"] < 500 for rounds in results.values() for f in rounds)


def test_a_missed_target_is_told_and_is_the_exit_status(script):
    finished = run(script, "--runs", "4")
    assert finished.returncode == 1
    assert "MISSED  the hare wins twice over" in finished.stdout


def test_a_contestant_that_fails_says_why(script, tmp_path):
    finished = run(script, "--fails", "tortoise", "--save", str(tmp_path / "race.json"))
    assert finished.returncode == 1
    assert "ValueError: no legs" in finished.stderr
    assert "tortoise failed in round 1." in finished.stderr
    assert not (tmp_path / "race.json").exists()


def test_a_contestant_that_takes_too_long_is_stopped_with_all_that_it_started(
    tmp_path, monkeypatch, capsys
):
    script = tmp_path / "race.py"
    script.write_text(LATE)
    monkeypatch.setattr("sys.argv", ["race.py"])
    results = take_turns(str(script), ["tortoise", "hare"], 2, minutes=0.03)
    assert results == {"tortoise": [], "hare": [{"seconds": 1.0}] * 2}
    assert capsys.readouterr().err.count("tortoise: not done in 0.03 minutes") == 1
    sleep = (tmp_path / "sleep").read_text()
    subprocess.run(["tail", f"--pid={sleep}", "-f", "/dev/null"], timeout=10, check=True)


def test_the_page_tells_ratios_misses_and_failures(section):
    written = page({"race": section, "flight": None}, {"machine": "a meadow"})
    assert "- machine: a meadow" in written
    assert "Of 2 ratios: 1 ahead, 0 level, 1 behind. Of 2 targets 1 missed:" in written
    assert "- **missed**: lighter than a tortoise" in written
    assert "## A race\n\n`benchmarks/race.py`\n\nOver a mile.\n\n| " in written
    assert "run it" not in written
    assert "| a race | tortoise | 1.5 s | 4 s | 3.00x (2.00x to 4.00x) | ahead |" in written
    assert "| memory | tortoise | 100 MB | 50 MB | 0.50x (0.50x to 0.50x) | **behind** |" in written
    assert "- met: faster than a tortoise" in written
    assert "- It rained." in written
    assert "| tortoise | 4 | 50 |\n| snail | 40 |  |" in written
    assert "## flight\n\n**Could not be run.**" in written
    assert "little data" not in written
    assert "little data" in page({"race": section}, {}, quick=True)


def test_every_line_of_a_table_is_as_wide_as_its_head(section):
    lines = page({"race": section}, {}).splitlines()
    tables = [[]]
    for line in lines:
        if line.startswith("|"):
            tables[-1].append(line.count("|"))
        elif tables[-1]:
            tables.append([])
    assert [len(set(table)) for table in tables if table] == [1, 1]


def test_the_picture_takes_any_ratio(section, tmp_path):
    section.rows.append(row([0.0, 1.0], [0.0, 1e6], more_is_better=False))
    section.rows.append(row([0.0], [0.5], more_is_better=True))
    section.rows.append(row([0.5], [0.0], more_is_better=True))
    draw([section], tmp_path / "made" / "benchmarks.png")
    assert (tmp_path / "made" / "benchmarks.png").read_bytes().startswith(b"\x89PNG")


def test_slopes_are_exponents():
    sizes = np.array([10, 100, 1000])
    assert slopes(sizes, 3.0 * sizes**1.5) == pytest.approx((1.5, 1.5, 1.5))
    exponent, least, most = slopes(sizes, np.array([1.0, 10.0, 1000.0]))
    assert (exponent, least, most) == pytest.approx((1.5, 1.0, 2.0))
