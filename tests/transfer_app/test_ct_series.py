"""A folder of scans is predicted series by series, and what is wrong with one is its problem."""

import json
import shutil
from importlib import resources
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from pydicom.data import get_testdata_file
from transformers import AutoModelForImageClassification

from tests.vision_transfer.ct.scans import IDENTIFIERS, SERIES, change, write_series
from transfer_app.command_line import main
from vision_transfer.backbones import save_classifier, untrained_backbone
from vision_transfer.ct import WindowedSlices, read_ct

READ = {"size": 32, "spacing": 1.4, "window": [40.0, 400.0]}


@pytest.fixture(scope="module", params=["single_label_classification", "regression"])
def model(request, tmp_path_factory):
    """A model of CT that was not trained: of three labels, and of a number."""
    of_number = request.param == "regression"
    model, processor = untrained_backbone(
        "test_resnet", ["size"] if of_number else ["a", "b", "c"], 32, 1
    )
    model.config.ct, model.config.problem_type = READ, request.param
    folder = tmp_path_factory.mktemp("ct") / "model"
    save_classifier(model, processor, folder)
    return folder


@pytest.fixture(scope="module")
def labels_model(tmp_path_factory):
    model, processor = untrained_backbone("test_resnet", ["a", "b", "c"], 32, 1)
    model.config.ct = READ
    folder = tmp_path_factory.mktemp("ct") / "model"
    save_classifier(model, processor, folder)
    return folder


def predicted(capsys, model, *sources):
    assert main(["predict", str(model), *map(str, sources), "--json"]) == 0
    return list(map(json.loads, capsys.readouterr().out.splitlines()))


def table(model, *sources):
    file = model.parent / "predictions.csv"
    file.unlink(missing_ok=True)
    assert main(["predict", str(model), *map(str, sources), "--output", str(file)]) == 0
    return pd.read_csv(file)


def test_a_folder_has_an_answer_for_each_series_by_the_mean_logits_of_its_slices(
    model, tmp_path, capsys
):
    first = write_series(tmp_path / "one" / "before", 4, patient="one")
    write_series(tmp_path / "one" / "after", 1, patient="one")
    mixed = write_series(tmp_path / "two", 3, patient="two", prefix="a", series=SERIES)
    write_series(tmp_path / "two", 2, patient="two", prefix="b")
    volume = np.random.default_rng(0).integers(-500, 500, (64, 64, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1, -1, -3, 1])), tmp_path / "v.nii.gz")
    answers = predicted(capsys, model, tmp_path)
    by_name = {answer["input"].removeprefix(f"{tmp_path}/"): answer for answer in answers}
    assert {name: (one["patient"], one["slices"]) for name, one in by_name.items()} == {
        "one/after/slice-1.dcm": (0, 1),
        "one/before": (0, 4),
        "two/a-3.dcm": (1, 3),
        "two/b-2.dcm": (1, 2),
        "v.nii.gz": (2, 5),
    }
    uid = pydicom.dcmread(first[0]).SeriesInstanceUID
    assert by_name["one/before"]["series"] == uid and by_name["v.nii.gz"]["series"] == "v"
    assert by_name["two/a-3.dcm"]["series"] == SERIES == pydicom.dcmread(mixed[0])[0x0020000E].value
    seen = AutoModelForImageClassification.from_pretrained(model).eval()
    rows = read_ct(tmp_path, READ["size"], READ["spacing"]).dataset.with_format("numpy")
    slices = WindowedSlices(rows["hounsfield"], tuple(READ["window"]))
    for name, answer in by_name.items():
        own = [n for n, file in enumerate(rows["file"]) if file.startswith(name.split("-")[0])]
        with torch.no_grad():
            total = sum(seen(slices[number][None]).logits[0] for number in own) / len(own)
        if "value" in answer:
            assert answer["value"] == pytest.approx(total.item(), abs=1e-5)
        else:
            expected = total.softmax(0).tolist()
            assert [answer["scores"][n] for n in "abc"] == pytest.approx(expected, abs=1e-4)


def test_patients_keep_their_numbers_over_folders_and_a_file_stays_a_slice(
    labels_model, tmp_path, capsys
):
    for number, patient in enumerate(["one", "two", "one"]):
        write_series(tmp_path / str(number), 2, patient=patient)
    folders = [tmp_path / str(number) for number in range(3)]
    answers = predicted(capsys, labels_model, *folders, folders[0] / "slice-1.dcm")
    assert [answer.get("patient") for answer in answers] == [0, 1, 0, None]
    assert set(answers[3]) == {"input", "label", "scores"}
    assert main(["predict", str(labels_model), *map(str, folders)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.endswith("2 slices") for line in lines)


def without(number):
    return lambda files: files[number].unlink()


def changed(number, **values):
    return lambda files: change(files[number], **values)


def smaller(files):
    data = pydicom.dcmread(files[4])
    data.Rows, data.PixelData = 64, data.pixel_array[:64].tobytes()
    data.save_as(files[4])


def cut_off(files):
    files[4].write_bytes(files[4].read_bytes()[:-9000])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (without(2), "lacks 1 slice between those it has"),
        (cut_off, "has 1 slice that cannot be used"),
        (smaller, "has slices of several sizes: 64 x 128 and 128 x 128 pixels"),
    ],
)
def test_a_series_that_is_not_whole_has_a_problem_and_no_answer(
    labels_model, tmp_path, capsys, damage, told
):
    damage(write_series(tmp_path / "bad"))
    rows = table(labels_model, tmp_path)
    assert "label" not in rows and set(rows["problem"]) == {told}
    assert main(["predict", str(labels_model), str(tmp_path)]) == 0
    assert "bad" not in capsys.readouterr().out
    write_series(tmp_path / "good")
    rows = table(labels_model, tmp_path)
    good = rows["input"] == str(tmp_path / "good")
    assert rows["problem"].isna().tolist() == rows["label"].notna().tolist() == good.tolist()


def test_what_is_no_scan_has_a_row_for_each_series(labels_model, tmp_path):
    write_series(tmp_path / "good")
    for file in write_series(tmp_path / "scout", 3, series=SERIES):
        change(file, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    shutil.copy(get_testdata_file("MR_small.dcm"), tmp_path / "mr.dcm")
    (tmp_path / "notes.txt").write_text("no scan")
    rows = table(labels_model, tmp_path).set_index("input")
    rows.index = [name.removeprefix(f"{tmp_path}/") for name in rows.index]
    assert rows["problem"].isna().tolist() == [True, False, False, False]
    assert rows.loc["good", ["patient", "slices"]].tolist() == [0, 5]
    assert rows.loc["mr.dcm", "problem"] == "is not CT, but MR"
    assert rows.loc["notes.txt", "problem"] == "is not a DICOM file"
    scout = rows.loc["scout/slice-1.dcm"]
    assert scout["series"] == SERIES and scout["problem"].startswith("is a localizer")
    assert scout["problem"].endswith("; 2 more files of its series left out")


def test_a_real_export_of_many_kinds_has_an_answer_for_its_one_whole_scan(labels_model):
    """What a PACS wrote to a disc: CT with localizers, a scan of which most is missing, MR, CR."""
    export = resources.files("pydicom") / "data" / "test_files" / "dicomdirtests"
    rows = table(labels_model, export)
    folders = ["/".join(Path(name).relative_to(str(export)).parts[:2]) for name in rows["input"]]
    rows.index = folders
    assert rows["label"].notna().sum() == 1
    assert rows.loc["98892001/CT5N", ["slices", "problem"]].fillna("").tolist() == [5, ""]
    assert rows.loc["77654033/CT2", "problem"] == "lacks 161 slices between those it has"
    assert rows.loc["98892001/CT2N", "problem"].startswith("is a localizer")
    assert {*rows.loc["98892003/MR2", "problem"].str[:17]} == {"is not CT, but MR"}


def test_a_change_of_the_distance_of_slices_is_no_problem(labels_model, tmp_path):
    """As of a head, whose base is scanned in thinner slices."""
    write_series(tmp_path, 3, 2.0, series=SERIES)
    for number, file in enumerate(write_series(tmp_path, 3, prefix="upper", series=SERIES)):
        change(file, ImagePositionPatient=[-158.1, -179.0, -75.7 + 4.0 + 5.0 * (number + 1)])
    (row,) = table(labels_model, tmp_path).to_dict("records")
    assert row["slices"] == 6 and pd.isna(row["problem"])


def test_a_table_of_series_does_not_say_who_the_patients_are(labels_model, tmp_path, capfd):
    write_series(tmp_path / "good", 2)
    for file in write_series(tmp_path / "left out", 2):
        change(file, Modality="MR")
    write_series(tmp_path / "bad")[2].unlink()
    assert len(table(labels_model, tmp_path)) == 3
    kept = (labels_model.parent / "predictions.csv").read_text()
    told = kept + "".join(capfd.readouterr())
    assert not [word for word in IDENTIFIERS.values() if word in told]
