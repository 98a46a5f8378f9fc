"""A recipe that is interrupted again and again loses nothing: a few faults, on a small slice."""

import pytest

from tests.faults.checks import broken_files, differences, epochs_lost
from tests.faults.runs import Workshop, interrupt
from tests.faults.slices import flags_of


@pytest.mark.slow
def test_a_recipe_survives_a_few_faults(tmp_path):
    data = tmp_path / "data"
    shop = Workshop(tmp_path / "runs", data, flags_of("pet-classifier", data))
    try:
        tally = interrupt("pet-classifier", shop, 3, seed=0, tell=lambda tally: None, changes=2)
    finally:
        shop.close()
    assert not tally.failures
    assert tally.count >= 3 and tally.identical == tally.chains and tally.lost <= 1
    assert tally.refused == tally.changes > 0


def test_half_files_and_other_files_are_noticed(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name / "report").mkdir(parents=True)
        (tmp_path / name / "report" / "results.json").write_text('{"rows": []}')
    one, other = tmp_path / "one", tmp_path / "other"
    assert not broken_files(one) and not differences(one, other)
    (one / "model.safetensors").write_bytes(b"half")
    (one / ".model.safetensors-1.partial").write_bytes(b"half")
    (other / "config.json").write_text("{}")
    assert [line.split(":")[0] for line in broken_files(one)] == ["model.safetensors"]
    assert differences(one, other) == [
        ".model.safetensors-1.partial: left over",
        "model.safetensors: left over",
        "config.json: missing",
    ]


def test_epochs_are_counted_that_were_done_a_second_time():
    before = [f"a\t{step}\t4" for step in range(7)] + [f"b\t{step}\t2" for step in range(2)]
    assert epochs_lost(before, ["a\t4\t4", "a\t5\t4"]) == 0.75
    assert epochs_lost(before, ["b\t2\t2"]) == 0
    assert epochs_lost(before, ["a\t0\t4"]) == 1.75
