"""The ct-inpainting recipe on a few DICOM files: base, comparison, answer, and nobody's name."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from transformers import AutoModelForImageClassification

from staged_training import InputError
from tests.vision_transfer.ct.scans import IDENTIFIERS, write_hospital, write_series
from transfer_app.command_line import main
from transfer_app.demo.photos import blocks
from transfer_app.prediction.opening import open_predictor
from vision_transfer.backbones import load_backbone, save_classifier, untrained_backbone
from vision_transfer.ct import WindowedSlices, read_ct
from vision_transfer.ct.pretraining import augment_slice
from vision_transfer.ct.simulated import LABELS

SMALL = ["--size", "32", "--spacing", "1.4", "--output-stride", "32", "--epochs", "2"]
FEW = ["--counts", "12", "24", "--seeds", "2", "--steps", "2"]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """Simulated scans as DICOM files, two of each patient, and the table of their labels."""
    folder = tmp_path_factory.mktemp("hospital")
    write_hospital(folder)
    (folder / "scans" / "notes.txt").write_text("no scan")
    return folder


def arguments(hospital, folder, *flags):
    data = ["--data", str(hospital / "scans"), "--labels", str(hospital / "labels.csv")]
    return ["run", "ct-inpainting", *data, "--output-dir", str(folder), *SMALL, *FEW, *flags]


@pytest.fixture(scope="module")
def learnt(hospital, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "ct"
    assert main(arguments(hospital, folder)) == 0
    return folder


def test_the_folder_holds_a_model_its_base_card_and_report_and_nothing_else(learnt):
    names = {path.name for path in learnt.iterdir()}
    files = {"README.md", "SHA256SUMS", "config.json", "model.safetensors"}
    assert names == {*files, "base", "report"}
    model = AutoModelForImageClassification.from_pretrained(learnt).eval()
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model(torch.zeros(1, 1, 32, 32)).logits.shape == (1, 2)
    base, _ = load_backbone(learnt / "base", ["one", "two", "three"])
    assert base.eval()(torch.zeros(1, 1, 32, 32)).logits.shape == (1, 3)


def test_every_candidate_has_a_score_at_every_number_of_labels(learnt):
    rows = json.loads((learnt / "report" / "results.json").read_text())["rows"]
    names = ["from scratch", "inpainting base, frozen", "inpainting base, fine-tuned"]
    names.append("ImageNet (EfficientNet-Lite0), frozen")
    assert [row["name"] for row in rows] == [f"{c}, {n} labels" for n in (12, 24) for c in names]
    assert all(0 <= row["metrics"]["auc"] <= 1 and row["std"]["auc"] >= 0 for row in rows)


def test_the_report_answers_whether_it_paid_and_shows_what_was_left_out(learnt):
    report = (learnt / "report" / "report.md").read_text()
    for told in ("Did pretraining pay?", "95 % interval", "PSNR", "notes.txt is not a DICOM file"):
        assert told in report
    assert "simulated" not in report  # these are given, and not those of the recipe
    for picture in ("label_efficiency", "examples"):
        assert (learnt / "report" / f"{picture}.png").stat().st_size > 5000
    card = ModelCard.load(learnt / "README.md")
    assert "filled holes have a PSNR of" in card.text
    assert "ct" in card.data.tags and card.data.license is None


def test_the_report_counts_slices_scans_and_patients_and_tells_how_they_are_split(learnt):
    done = "16 slices of 16 scans of 8 patients, of other patients: the split is by patient"
    for file in ("report/report.md", "README.md"):
        assert done in (learnt / file).read_text()


def test_scans_are_predicted_as_the_model_learnt_to_see_them(hospital, learnt, tmp_path, capsys):
    model = AutoModelForImageClassification.from_pretrained(learnt).eval()
    rows = read_ct(hospital / "scans", 32, 1.4).dataset.with_format("numpy")
    seen = torch.stack(list(WindowedSlices(rows["hounsfield"], (50, 250))))
    with torch.no_grad():
        expected = model(seen).logits.softmax(1)[:, 1].tolist()
    volume = nibabel.Nifti1Image(np.full((64, 64, 3), 40, np.int16), np.diag([-0.7, -0.7, -2, 1]))
    nibabel.save(volume, tmp_path / "a.nii.gz")
    sources = [hospital / "scans", hospital / "scans" / "3.dcm", tmp_path / "a.nii.gz"]
    assert main(["predict", str(learnt), *map(str, sources), "--json"]) == 0
    told = capsys.readouterr()
    answers = list(map(json.loads, told.out.splitlines()))
    by_hand = [answer["scores"][LABELS[1]] for answer in answers[:80]]
    assert np.allclose(by_hand, expected, atol=1e-4)
    assert answers[0]["input"] == str(hospital / "scans" / rows["file"][0])
    assert answers[80]["input"] == str(hospital / "scans" / "3.dcm")
    assert [answer["input"][-9:] for answer in answers[81:]] == [f".nii.gz#{n}" for n in (2, 1, 0)]
    assert "notes.txt is not a DICOM file" in told.err
    assert main(["predict", str(learnt), str(hospital / "scans" / "notes.txt")]) == 2


def test_a_model_of_photos_is_given_soft_tissue_and_images_before_scans(tmp_path, capsys):
    save_classifier(*untrained_backbone("test_resnet", ["a", "b"], 32), tmp_path / "model")
    write_series(tmp_path / "scans", 2)

    def predicted(source):
        assert main(["predict", str(tmp_path / "model"), str(source), "--json"]) == 0
        told = capsys.readouterr()
        return [json.loads(line)["input"] for line in told.out.splitlines()], told.err

    files = [str(tmp_path / "scans" / f"slice-{number}.dcm") for number in (1, 2)]
    inputs, told = predicted(tmp_path / "scans")
    assert sorted(inputs) == files and "soft tissue" in told
    Image.new("RGB", (40, 40)).save(tmp_path / "scans" / "a.png")
    inputs, told = predicted(tmp_path / "scans")
    assert inputs == [str(tmp_path / "scans" / "a.png")]
    assert all(f"Left out: {file} is a scan" in told for file in files)
    assert written(tmp_path) == {"a.png": ""} | dict.fromkeys(
        ("slice-1.dcm", "slice-2.dcm"), "is a scan, and there are images beside it"
    )
    (tmp_path / "scans" / "a.png").rename(tmp_path / "scans" / "a.txt")
    assert written(tmp_path) == {
        **{"slice-1.dcm": "", "slice-2.dcm": ""},
        "a.txt": "is not a DICOM file",
    }


def written(folder):
    """The problem of each file of scans, in a table of predictions."""
    source, table = folder / "scans", folder / "out.csv"
    assert main(["predict", str(folder / "model"), str(source), "--output", str(table)]) == 0
    rows = pd.read_csv(table, keep_default_na=False)
    assert [bool(label) for label in rows["label"]] == [not told for told in rows["problem"]]
    names = [Path(name).name for name in rows["input"]]
    return dict(zip(names, rows["problem"], strict=True))


@pytest.fixture(scope="module")
def of_ct(tmp_path_factory):
    """The folder of a model of CT without checksums, and its configuration."""
    model, processor = untrained_backbone("test_resnet", ["a", "b"], 32, 1)
    model.config.ct = {"size": 32, "spacing": 1.4, "window": [40, 400]}
    folder = tmp_path_factory.mktemp("ct") / "model"
    save_classifier(model, processor, folder)
    (folder / "SHA256SUMS").unlink()
    return folder, json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize(
    "changed",
    [
        *({"size": value} for value in ("32", 10**9)),
        *({"spacing": value} for value in ("1.4", 1e-9, float("nan"))),
        *({"window": value} for value in ("liver", None, [40, float("inf")])),
        *([], {"size": None, "spacing": None}),
    ],
)
def test_a_model_that_says_wrongly_how_its_scans_are_read_is_refused(changed, of_ct, capsys):
    folder, config = of_ct
    is_part = isinstance(changed, dict) and len(changed) == 1
    ct = config["ct"] | changed if is_part else changed
    (folder / "config.json").write_text(json.dumps(config | {"ct": ct}))
    assert main(["predict", str(folder), str(folder)]) == 2
    told = capsys.readouterr().err
    assert "is no way to read scans" in told and told.count("\n") == 1


def test_a_spacing_that_would_make_enormous_slices_is_refused(tmp_path):
    write_series(tmp_path, 1)
    with pytest.raises(InputError, match=r"slice-1\.dcm would have \d+ x \d+ pixels"):
        read_ct(tmp_path, size=32, spacing=0.01)


def test_the_page_takes_scans(hospital, learnt):
    page = blocks(open_predictor(str(learnt)))
    (look,) = [function for function in page.fns.values() if function.name == "look"]
    files = [str(hospital / "scans" / name) for name in ("0.dcm", "notes.txt", "1.dcm")]
    scored, gallery, listed, _ = look.fn(files)
    assert [name for name, _ in scored] == ["0.dcm", "1.dcm"]
    assert len(gallery.value) == 2
    assert "Left out: notes.txt: holds no slice of a CT scan" in listed


def test_nothing_that_is_written_says_who_the_patients_are(learnt, capfd):
    for file in learnt.rglob("*.*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not [name for name in IDENTIFIERS.values() if name.encode() in content]


def test_a_run_that_was_killed_is_resumed_to_the_same_scores(
    hospital, learnt, run_killed, tmp_path
):
    folder = tmp_path / "ct"
    run_killed(arguments(hospital, folder), folder, "runs/labels-*/done.json")
    assert main(arguments(hospital, folder)) == 2  # a run that was cut off is not overwritten
    assert main(arguments(hospital, folder, "--resume")) == 0
    scores = [
        [row["metrics"] for row in json.loads((f / "report" / "results.json").read_text())["rows"]]
        for f in (learnt, folder)
    ]
    assert scores[0] == scores[1]


def test_augmentation_keeps_what_is_seen_and_adds_no_other_values():
    pixels = torch.rand(1, 16, 16)
    for _ in range(20):
        other = augment_slice(pixels)
        assert other.shape == pixels.shape
        assert set(other.flatten().tolist()) <= set(pixels.flatten().tolist())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--counts", "12", "--size", "0"], "--size is 0"),
        (["--window", "50"], "--window is"),
        (["--counts", "5"], "--counts is"),
        (["--counts", "600"], "Give smaller --counts"),
        (["--architecture", "resnet1000"], "not an architecture of timm"),
        (["--data", "nowhere"], "no such file"),
        (["--labels", "nowhere.csv"], "no such file"),
        (["--archive", "nowhere"], "no such file"),
    ],
)
def test_what_cannot_be_used_is_told_and_nothing_is_written(
    hospital, tmp_path, capsys, flags, said
):
    assert main([*arguments(hospital, tmp_path / "out"), *flags]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("file,kind\n0.dcm,a\n", "has no column 'label'"),
        ("file,label\n0.dcm,a\n999.dcm,b\n", "row 2 names 999.dcm"),
        ("file,label\n0.dcm,a\n1.dcm,a\n", "there must be two"),
        ("file,label\n0.dcm,a\n0.dcm,b\n", "names a slice twice"),
    ],
)
def test_a_table_of_labels_that_cannot_be_used_is_told(hospital, tmp_path, capsys, content, said):
    (tmp_path / "labels.csv").write_text(content)
    flags = ["--labels", str(tmp_path / "labels.csv")]
    assert main([*arguments(hospital, tmp_path / "out"), *flags]) == 2
    assert said in capsys.readouterr().err
