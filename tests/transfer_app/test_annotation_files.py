"""What is found in photos and films, in the files that the tools of the field read."""

import json
import os
import re

import av
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.fuzz.model_folders import MODELS
from tests.fuzz.targets import PHOTO
from tests.small_models import save_detector, save_text_model
from tests.vision_transfer.films import write_film
from transfer_app.command_line import main
from transfer_app.prediction.subtitles import Cue, cues_of, webvtt
from vision_transfer.captioning.coco import read_json
from vision_transfer.detection.annotations import read_annotations
from vision_transfer.detection.frames import upright_boxes


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector") / "model"
    save_detector(folder)
    return folder


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioner") / "model"
    MODELS["captioner"](folder)
    return folder


@pytest.fixture
def photos(tmp_path):
    """Two photos of one name, one of them turned by EXIF, a plain one, and one that is none."""
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    photo, turned = Image.open(PHOTO), Image.Exif()
    photo.save(tmp_path / "photos" / "a" / "1.png")
    turned[0x112] = 6
    on_its_side = photo.transpose(Image.Transpose.ROTATE_90)
    on_its_side.save(tmp_path / "photos" / "b" / "1.png", exif=turned)
    Image.new("RGB", (64, 48), "gray").save(tmp_path / "photos" / "plain, ü.png")
    (tmp_path / "photos" / "broken.jpg").write_text("no photo")
    return tmp_path / "photos"


def predicted(model, *arguments):
    assert main(["predict", str(model), *map(str, arguments)]) == 0


def test_boxes_are_read_and_scored_by_pycocotools(detector, photos, tmp_path, capsys):
    file = tmp_path / "found.json"
    predicted(detector, photos, "--output", file)
    told = capsys.readouterr()
    assert "broken.jpg is not an image" in told.err
    coco = COCO(file)
    names = {image["file_name"]: image["id"] for image in coco.dataset["images"]}
    assert list(names) == ["a/1.png", "b/1.png", "plain, ü.png"]
    assert coco.dataset["info"]["unread"] == {"broken.jpg": "is not an image"}
    assert f"{len(coco.getAnnIds())} boxes, 3 photos, named" in told.out and "1 unread" in told.out
    assert coco.dataset["categories"] == [
        {"id": 1, "name": "cat", "supercategory": ""},
        {"id": 2, "name": "dog", "supercategory": ""},
    ]
    assert not coco.getAnnIds(names["plain, ü.png"])

    predicted(detector, photos, "--json")
    printed = map(json.loads, capsys.readouterr().out.splitlines()[-3:])
    for row, name in zip(printed, names, strict=True):
        entries = coco.loadAnns(coco.getAnnIds(names[name]))
        for entry, box in zip(entries, row["boxes"], strict=True):
            x, y, width, height = entry["bbox"]
            assert [*box["box"].values()] == [
                pytest.approx(side, abs=1.01) for side in (x, y, x + width, y + height)
            ]
            assert coco.loadCats(entry["category_id"])[0]["name"] == box["label"] == "dog"
            assert entry["score"] == pytest.approx(box["score"], abs=1e-4)

    results = coco.loadRes([dict(entry) for entry in coco.dataset["annotations"]])
    scored = COCOeval(coco, results, "bbox")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    assert scored.stats[0] == pytest.approx(1)


def test_boxes_are_those_of_the_upright_photo_and_are_read_again(detector, photos, tmp_path):
    file = tmp_path / "found.json"
    predicted(detector, photos, "--output", file)
    content = json.loads(file.read_text("utf-8"))
    upright, turned, _ = content["images"]
    assert (turned["width"], turned["height"]) == Image.open(PHOTO).size
    found = {image["id"]: [] for image in content["images"]}
    for entry in content["annotations"]:
        found[entry["image_id"]].append(entry["bbox"])
    assert found[turned["id"]] == found[upright["id"]] != []
    problems = []
    annotated = read_annotations(file, photos, "objects", None)
    sizes, read = upright_boxes(file, annotated, problems)
    assert not problems
    assert [str(image.file.relative_to(photos)) for image in annotated] == [
        image["file_name"] for image in content["images"]
    ]
    assert sizes == [(image["width"], image["height"]) for image in content["images"]]
    assert [[mark.corners for mark in marks] for marks in read] == [
        [pytest.approx((x, y, x + width, y + height)) for x, y, width, height in boxes]
        for boxes in found.values()
    ]


def test_photos_given_twice_stand_in_it_once_and_odd_names_as_text(
    detector, photos, tmp_path, monkeypatch
):
    odd = photos / os.fsdecode(b"3\xe9\n.png")
    Image.new("RGB", (40, 40), "gray").save(odd)
    monkeypatch.chdir(tmp_path)
    predicted(detector, photos / "a", "photos", odd, "--output", tmp_path / "found.json")
    content = json.loads((tmp_path / "found.json").read_bytes())
    assert sorted(image["file_name"] for image in content["images"]) == [
        *("3\\xe9\n.png", "a/1.png", "b/1.png", "plain, ü.png"),
    ]


def test_a_file_is_written_though_nothing_was_found(detector, tmp_path, capsys):
    Image.new("RGB", (40, 40), "gray").save(tmp_path / "1.png")
    predicted(detector, tmp_path / "1.png", "--output", tmp_path / "found.json")
    coco = COCO(tmp_path / "found.json")
    assert (len(coco.imgs), coco.anns) == (1, {})
    assert "0 boxes, 1 photos" in capsys.readouterr().out


def test_captions_are_read_by_pycocotools_and_again(captioner, photos, tmp_path, capsys):
    file = tmp_path / "said.json"
    predicted(captioner, photos, "--output", file)
    coco = COCO(file)
    results = coco.loadRes([dict(entry) for entry in coco.dataset["annotations"]])
    said = {
        image["file_name"]: results.imgToAnns[image["id"]][0]["caption"]
        for image in results.dataset["images"]
    }
    capsys.readouterr()
    predicted(captioner, photos, "--json")
    rows = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert {str(photos / name): caption for name, caption in said.items()} == {
        row["input"]: row["caption"] for row in rows
    }
    assert {row.image: row.caption for row in read_json(file, [])} == said


@pytest.fixture
def film(tmp_path):
    """Seconds of black, of white from 2.5 on, and of black again from 4.5 on."""
    shades = np.repeat([0, 255, 0], [25, 20, 30]).astype(np.uint8)
    frames = np.broadcast_to(shades[:, None, None, None], (75, 48, 64, 3))
    return write_film(tmp_path / "film.mp4", np.ascontiguousarray(frames), rate=10)


CUE = re.compile(
    r"(\d{2,}:[0-5]\d:[0-5]\d\.\d{3}) --> (\d{2,}:[0-5]\d:[0-5]\d\.\d{3})\n([^\r\n<>]+)\n"
)
"""A cue as W3C's WebVTT has it: hours of two digits or more, a text on one line, no tags."""


def read_by_ffmpeg(file):
    """Milliseconds from which on and for which each subtitle is shown, and its text."""
    with av.open(file) as container:
        assert container.format.name == "webvtt"
        packets = [packet for packet in container.demux(subtitles=0) if packet.size]
        return [
            (packet.pts, packet.duration, packet.decode()[0].dialogue.decode())
            for packet in packets
        ]


def test_a_film_gets_subtitles_that_change_when_it_does(captioner, film, tmp_path, capsys):
    file = tmp_path / "film.vtt"
    predicted(captioner, film, "--output", file)
    assert "3 captions of 8 seconds" in capsys.readouterr().out
    black, white, again = read_by_ffmpeg(file)
    assert black == (0, 3000, black[2])
    assert white == (3000, 2000, white[2])
    assert again == (5000, 3000, black[2])
    assert "" != white[2] != black[2] != ""
    header, *cues = file.read_text("utf-8").split("\n\n")
    assert header == "WEBVTT" and all(CUE.fullmatch(f"{cue.rstrip()}\n") for cue in cues)


def test_captions_that_stay_the_same_are_one_cue_unless_the_film_has_a_gap():
    captions = [(0.0, "a cat"), (1.0, "a cat"), (2.0, "a dog"), (9.0, "a dog"), (10.0, "a dog")]
    assert cues_of(captions, 1.0) == [
        Cue(0.0, 2.0, "a cat"),
        Cue(2.0, 3.0, "a dog"),
        Cue(9.0, 11.0, "a dog"),
    ]


def test_no_caption_breaks_the_format_and_films_may_be_long(tmp_path):
    texts = ["a --> b", "one\n\n\u2028two\r", "<i>AT&T &lt;", "00:00:00.000 --> 00:00:01.000", "\n"]
    starts = [0.0, 59.9996, 3599.5, 36_000.25, 359_999.0]
    cues = [Cue(start, start + 1.5, text) for start, text in zip(starts, texts, strict=True)]
    (tmp_path / "t.vtt").write_text(webvtt(cues), encoding="utf-8")
    assert read_by_ffmpeg(tmp_path / "t.vtt") == [
        (0, 1500, "a --> b"),
        (60_000, 1500, "one two"),
        (3_599_500, 1500, "<i>AT&T &lt;"),
        (36_000_250, 1500, texts[3]),
    ]
    _, *parts = webvtt(cues).split("\n\n")
    times = [CUE.fullmatch(f"{part.rstrip()}\n").groups()[:2] for part in parts]
    assert times[1:3] == [("00:01:00.000", "00:01:01.500"), ("00:59:59.500", "01:00:01.000")]


@pytest.mark.parametrize(
    ("kind", "given", "output", "said"),
    [
        ("detector", ["film.mp4"], "out.vtt", "subtitles are captions, and the model gives none"),
        ("captioner", ["photos"], "out.vtt", "subtitles are of one film, and the input is photos"),
        ("captioner", ["film.mp4", "film.mp4"], "out.vtt", "subtitles are of one film"),
        ("captioner", ["none.mp4"], "out.vtt", "none.mp4: no such file"),
        ("captioner", ["empty.mp4"], "out.vtt", "empty.mp4: no video can be opened"),
        ("captioner", ["film.mp4"], "out.json", "Write them by --output, to a file that ends in"),
        ("texts", ["empty.mp4"], "out.json", "COCO's format is of boxes and captions, and the"),
    ],
)
def test_what_a_format_does_not_hold_is_refused(
    kind, given, output, said, request, photos, film, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.mp4").touch()
    if kind == "texts":
        save_text_model(tmp_path / "model", "regression")
    model = tmp_path / "model" if kind == "texts" else request.getfixturevalue(kind)
    assert main(["predict", str(model), *given, "--output", output]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / output).exists()
