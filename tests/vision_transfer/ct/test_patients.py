"""Labels of patients: split by patient, none on both sides, and scores for each patient."""

import re
import shutil

import numpy as np
import pandas as pd
import pydicom
import pytest

from staged_training import InputError
from tests.vision_transfer.ct.scans import IDENTIFIERS, patient_id, write_patients
from transfer_app.command_line import main
from vision_transfer.ct import bags, read_ct
from vision_transfer.ct.pretraining import SliceFormat, read_ct_data
from vision_transfer.ct.windows import WindowedSlices

WINDOW = (50.0, 250.0)
SLICES = SliceFormat(32, 1.4, WINDOW)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hospital")
    write_patients(folder)
    return folder


def patients_of_images(images, folder):
    """Whose slices these are, found by their pixels."""
    rows = read_ct(folder, SLICES.size, SLICES.spacing).dataset.with_format("numpy")
    slices = WindowedSlices(rows["hounsfield"], WINDOW)
    ids = [pydicom.dcmread(folder / file).PatientID for file in rows["file"]]
    known = {pixels.numpy().tobytes(): name for pixels, name in zip(slices, ids, strict=True)}
    return {known[image.numpy().tobytes()] for image in images}


@pytest.mark.parametrize(("copied", "by"), [(False, "patient"), (True, "series")])
def test_no_patient_is_on_both_sides_nor_in_the_archive(hospital, tmp_path, copied, by):
    labels = tmp_path / "labels.csv"
    table = pd.read_csv(hospital / "labels.csv")
    if by == "series":
        table = table.drop(columns="patient").assign(series=[f"1.2.{n}" for n in table.index])
    table.to_csv(labels, index=False)
    scans, other = hospital / "scans", str(tmp_path) if copied else None
    for number, file in enumerate(sorted(scans.rglob("*.dcm")) if copied else []):
        shutil.copy(file, tmp_path / f"copy-{number}.dcm")
    data = read_ct_data(str(scans), str(labels), other, SLICES)
    learnt, tested, seen = (
        patients_of_images(images, scans)
        for images in (data.labelled.train.images, data.labelled.test.images, data.archive)
    )
    assert not tested & (learnt | seen)
    assert (len(learnt), len(tested), len(seen)) == (16, 4, 16)
    assert data.sizes[2] == (
        "16 slices of 4 scans of 4 patients, of other patients: the split is by patient"
    )
    told = [str(problem) for problem in data.left_out if "tested on" in str(problem)]
    left_out = f"{other} has 16 slices of patients who are tested on, which are left out"
    assert told == ([left_out] if copied else [])
    assert data.bags.kind == by
    for part, images in ((data.bags.train, learnt), (data.bags.test, tested)):
        assert [len(np.unique(numbers)) for numbers in part] == [len(images)] * 2


def test_an_archive_of_none_but_those_who_are_tested_on_is_refused(hospital):
    scans, table = hospital / "scans", str(hospital / "labels.csv")
    data = read_ct_data(str(scans), table, None, SLICES)
    tested = patients_of_images(data.labelled.test.images, scans)
    one = next(number for number in range(20) if patient_id(number) in tested)
    with pytest.raises(InputError, match="all of its scans are of patients who are tested on"):
        read_ct_data(str(scans), table, str(scans / str(one)), SLICES)


def test_the_recipe_scores_patients_with_an_interval_for_each_way_to_pool(
    hospital, tmp_path, capsys, monkeypatch, one_process
):
    monkeypatch.setattr(bags, "_STEPS", 20)
    flags = "--size 32 --spacing 1.4 --output-stride 32 --epochs 1 --counts 16 --seeds 1 --steps 6"
    data = ["--data", str(hospital / "scans"), "--labels", str(hospital / "labels.csv")]
    folder = tmp_path / "ct"
    assert main(["run", "ct-inpainting", *data, "--output-dir", str(folder), *flags.split()]) == 0
    report, card = (folder / "report" / "report.md").read_text(), (folder / "README.md").read_text()
    for told in (capsys.readouterr().out, report, card):
        assert "the split is by patient" in told
        assert "AUC by patient (95 % interval, bootstrap over patients) on 4 patients" in told
        rows = re.findall(
            r"^\| ([a-zA-Z].*?) +((?:\| [01]\.\d{3} \(.*?\) +)+)\|$", told, re.MULTILINE
        )
        assert [name for name, _ in rows] == [
            "inpainting base, frozen",
            "ImageNet (EfficientNet-Lite0), frozen",
            "inpainting base, fine-tuned",
        ]
        for _, cells in rows:
            areas = np.array(re.findall(r"[01]\.\d{3}", cells), float).reshape(-1, 3)
            assert len(areas) == 3 and (areas[:, 1] <= areas[:, 0]).all()
            assert (areas[:, 0] <= areas[:, 2]).all()
        assert not [word for word in IDENTIFIERS.values() if word in told]
    table = tmp_path / "predictions.csv"
    assert main(["predict", str(folder), str(hospital / "scans"), "--output", str(table)]) == 0
    rows = pd.read_csv(table)
    assert rows["slices"].tolist() == [4] * 20 and rows["series"].nunique() == 20
