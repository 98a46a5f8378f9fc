"""What is fuzzed: each reader of files, and the real files that its inputs are mutations of."""

import contextlib
import gzip
import itertools
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAILS = ROOT / "tests" / "data" / "raw_mail"
PHOTO = ROOT / "tests" / "data" / "beagle.jpg"
MESSAGES = ROOT / "recipes" / "data" / "email_urgency" / "messages.parquet"

Files = Iterator[tuple[str, bytes]]


@dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
        read: Reads a file as users do, and checks what it returns.
        seeds: Names and contents of whole, small files.
        suffix: The ending of the name of a file with some content.
        modules: What is instrumented for coverage: the reader, and the parsers in Python under it.
    """

    read: Callable[[Path], None]
    seeds: Callable[[Path], Files]
    suffix: Callable[[bytes], str]
    modules: tuple[str, ...]


def _read_mails(file: Path) -> None:
    from nlp_transfer.emails import Skipped, iter_emails

    for keep_quotes in (False, True):
        for item in iter_emails(file, keep_quotes):
            if not isinstance(item, Skipped):
                (item.subject + item.body).encode()  # no half of a surrogate pair


def _mails(_: Path) -> Files:
    from tests.nlp_transfer.outlook_files import outlook_message

    yield "outlook.eml", outlook_message("Pump", "It stopped.", b"<p>It has stopped.")
    for file in sorted(MAILS.glob("*.eml")):
        yield file.name, file.read_bytes()[:20_000]
    separator = b"From ann@example.org Mon Jun  3 10:15:00 2024\n"
    mails = [file.read_bytes()[:1500] for file in sorted(MAILS.glob("*.eml"))[:3]]
    yield "inbox.mbox", b"".join(separator + mail + b"\n\n" for mail in mails)
    yield (
        "nested.eml",
        b"Subject: =?utf-8?q?Caf=C3=A9?= =?big5?b?pKOs3Q==?=\n"
        b"Content-Type: multipart/mixed; boundary=a\n\n--a\n"
        b"Content-Type: multipart/alternative; boundary*0=b; boundary*1=c\n\n--bc\n"
        b"Content-Type: text/html; charset*=utf-8''iso-8859-1\n"
        b"Content-Transfer-Encoding: quoted-printable\n\n<p>caf=E9 <b>x</b></p>\n--bc--\n--a\n"
        b"Content-Type: text/plain; charset=utf-7\nContent-Transfer-Encoding: x-uuencode\n\n"
        b"begin 644 a\n#86)C\n`\nend\n\nOn Monday Ann wrote:\n> quoted\n-- \nBob\n--a--\n",
    )


def _read_tables(file: Path) -> None:
    from nlp_transfer.emails import read_labelled_texts, read_texts

    for read in (read_texts, read_labelled_texts):
        for columns in zip(*read(file).dataset.to_dict().values(), strict=True):
            assert all(isinstance(cell, str) for cell in columns[:2])


def _tables(folder: Path) -> Files:
    import pandas as pd

    rows = pd.read_parquet(MESSAGES).groupby("label").head(3)[["text", "label", "fold"]]
    rows["text"] = rows["text"].str[:300]
    yield "t.csv", rows.to_csv(index=False).encode()
    yield "t.tsv", rows.to_csv(index=False, sep="\t").encode()
    yield "t.jsonl", rows.to_json(orient="records", lines=True).encode()
    for compression in ("snappy", "zstd", None):
        path = folder / f"{compression}.parquet"
        rows.to_parquet(path, compression=compression)
        yield path.name, path.read_bytes()
    yield "s.csv", rows.to_csv(index=False, sep=";").encode("cp1252", "replace")
    yield "u.csv", rows.to_csv(index=False, sep="\t").encode("utf-16")
    yield "q.csv", b'text,label\n"a,x\nb,y\n"c" d,x\ne,y\n'
    yield "g.csv", gzip.compress(rows.to_csv(index=False).encode())
    rows.to_excel(folder / "t.xlsx", index=False)
    yield "t.xlsx", (folder / "t.xlsx").read_bytes()
    typed = rows.assign(when=pd.Timestamp("2024-06-03"), share=0.5, tags=[["a", "b"]] * len(rows))
    yield "typed.csv", typed.drop(columns="tags").to_csv(index=False).encode()
    typed.to_parquet(folder / "typed.parquet")
    yield "typed.parquet", (folder / "typed.parquet").read_bytes()


def _table_suffix(content: bytes) -> str:
    if content.startswith(b"PAR1"):
        return ".parquet"
    if content.startswith(b"PK"):
        return ".xlsx"
    if content.lstrip().startswith((b"{", b"[")):
        return ".jsonl"
    return ".tsv" if b"\t" in content.partition(b"\n")[0] else ".csv"


def _read_vectors(file: Path) -> None:
    import numpy as np

    from nlp_transfer.word_vectors import open_vectors

    vectors = open_vectors(file)
    for look_up in (vectors.lookup, vectors.compose):
        found, rows = look_up(["the", "urgent", "a", "b", "Köln", ". . ."])
        assert rows.shape == (len(found), vectors.dim)
        assert np.isfinite(rows).all()
    for _, row in itertools.islice(vectors, 1000):
        assert row.shape == (vectors.dim,)


def _vectors(folder: Path) -> Files:
    import numpy as np
    from gensim.models import FastText, KeyedVectors

    from nlp_transfer.word_vectors import save_vectors

    words = ["the", "urgent", "Köln", "a", "e-mail"]
    rows = np.random.default_rng(0).normal(size=(len(words), 4)).astype(np.float32)
    for format in ("glove", "word2vec", "word2vec-binary"):
        for ending in ("", ".gz"):
            path = folder / f"{format}{ending}"
            save_vectors(path, words, rows, format)
            yield path.name, path.read_bytes()
    yield "tabs.txt", b"the\t1\t2\nnew york\t3\t4\na\t5 6\n"
    yield "spaces.txt", b". . . 4 5 6\nat name@domain.com 7 8 9\nthe 1 2 3 \n"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = folder / f"{method}.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.write(folder / "glove", "glove.txt")
        yield path.name, path.read_bytes()
    vectors = KeyedVectors(4)
    vectors.add_vectors(words, rows)
    vectors.save(str(folder / "v.kv"))
    yield "v.kv", (folder / "v.kv").read_bytes()
    fasttext = FastText([words], vector_size=4, min_count=1, bucket=9, epochs=1)
    fasttext.wv.save(str(folder / "ft.kv"))
    yield "ft.kv", (folder / "ft.kv").read_bytes()


def _read_image(file: Path) -> None:
    from staged_training.runtime.photos import check_image, load_rgb, upright_size

    check_image(file)
    image = load_rgb(file)
    assert (image.mode, image.size) == ("RGB", upright_size(file))


def _images(folder: Path) -> Files:
    from PIL import Image

    photo = Image.open(PHOTO).resize((24, 16))
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, mode, options in [
        ("plain.jpg", "RGB", {"exif": turned}),
        ("progressive.jpg", "RGB", {"progressive": True}),
        ("cmyk.jpg", "CMYK", {}),
        ("plain.png", "RGB", {}),
        ("gray.png", "L", {}),
        ("palette.png", "P", {"transparency": 3}),
        ("clear.png", "RGBA", {}),
        ("deep.png", "I;16", {}),
        ("float.tiff", "F", {}),
        ("packed.tiff", "RGB", {"compression": "tiff_lzw"}),
        ("jpeg.tiff", "RGB", {"compression": "jpeg"}),
        ("a.bmp", "RGB", {}),
        ("a.gif", "P", {"save_all": True, "append_images": [photo.rotate(9)]}),
        ("a.webp", "RGB", {"exif": turned}),
        ("clear.webp", "RGBA", {"lossless": True}),
    ]:
        photo.convert(mode).save(folder / name, **options)
        yield name, (folder / name).read_bytes()


def _read_scan(file: Path) -> None:
    """Beside two whole slices of a series, to which it may belong."""
    from tests.vision_transfer.ct.scans import SERIES, write_series
    from vision_transfer.ct import find_series
    from vision_transfer.ct.dataset import BrokenSliceError, hounsfield

    if not (file.parent / "whole").exists():
        write_series(file.parent / "whole", count=3, series=SERIES)
    for series in find_series(file.parent).series:
        for part in series.slices[:2] + series.slices[-1:]:
            if part.file == file:
                try:
                    assert hounsfield(part).shape == part.shape
                except BrokenSliceError as error:
                    if isinstance(error.__cause__, MemoryError):
                        raise


def _scans(folder: Path) -> Files:
    import nibabel
    import numpy as np
    import pydicom
    from pydicom.data import get_testdata_file
    from pydicom.uid import RLELossless

    from tests.vision_transfer.ct.scans import SERIES, write_series

    mr = ("MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless")
    for name in (*mr, "JPGExtended"):
        data = pydicom.dcmread(get_testdata_file(f"{name}.dcm"))
        data.Modality, data.RescaleSlope, data.RescaleIntercept = "CT", 1, -1024
        data.PixelSpacing = [0.5, 0.5]
        data.save_as(folder / f"{name}.dcm")
        yield f"{name}.dcm", (folder / f"{name}.dcm").read_bytes()
    data = pydicom.dcmread(write_series(folder / "series", count=4, series=SERIES)[-1])
    data.remove_private_tags()
    data.save_as(folder / "slice.dcm")
    yield "slice.dcm", (folder / "slice.dcm").read_bytes()
    pydicom.dcmwrite(
        folder / "bare.dcm", pydicom.Dataset(data), implicit_vr=True, little_endian=True
    )
    yield "bare.dcm", (folder / "bare.dcm").read_bytes()
    data.compress(RLELossless)
    data.save_as(folder / "rle.dcm")
    yield "rle.dcm", (folder / "rle.dcm").read_bytes()
    values = np.random.default_rng(0).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    for name in ("a.nii", "a.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / name)
        yield name, (folder / name).read_bytes()


def _scan_suffix(content: bytes) -> str:
    if content[128:132] == b"DICM" or content.startswith(b"\x08\0"):
        return ".dcm"
    return ".nii.gz" if content.startswith(b"\x1f\x8b") else ".nii"


_OF_CAPTIONS = (b"caption", b"sentences", b"comment")


def _read_annotations(file: Path) -> None:
    from staged_training import InputError
    from vision_transfer.captioning.layouts import read_captions
    from vision_transfer.detection.task import read_detection_task

    folder = file.parent
    if not (folder / "a.jpg").exists():
        shutil.copy(PHOTO, folder / "a.jpg")
    source = file
    if file.name.endswith((".xml", ".boxes.txt")):
        source = folder / ("Annotations" if file.suffix == ".xml" else "labels")
        source.mkdir(exist_ok=True)
        (source / "classes.txt").write_text("dog")
        file.replace(source / f"a{file.suffix}")
    elif file.suffix == ".txt" or any(word in file.read_bytes() for word in _OF_CAPTIONS):
        for row in read_captions(file).rows:
            assert isinstance(row.caption, str)
        return
    for column in ("objects", "head_box"):
        with contextlib.suppress(InputError):  # the table may hold the other one
            task = read_detection_task(source, images=folder, box_column=column)
            assert list(map(len, task.boxes)) == list(map(len, task.labels))


def _annotations(_: Path) -> Files:
    images = [{"id": 0, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}]
    box = {"id": 1, "image_id": 0, "category_id": 9, "bbox": [1, 2, 30, 40.5], "iscrowd": 0}
    coco = {"images": images, "categories": [{"id": 9, "name": "dog"}], "annotations": [box]}
    yield "coco.json", json.dumps(coco).encode()
    said = {"images": images, "annotations": [{"id": 1, "image_id": 0, "caption": "A dog."}]}
    yield "captions.json", json.dumps(said).encode()
    rows: list[dict[str, object]] = [
        {"file_name": "a.jpg", "head_box": [1, 2, 30, 40], "fold": 0},
        {"file_name": "a.jpg", "objects": {"bbox": [[1, 2, 3, 4]], "categories": ["x"]}, "fold": 1},
    ]
    yield "rows.jsonl", "\n".join(map(json.dumps, rows)).encode()
    yield "rows.csv", b'file_name,head_box,fold\na.jpg,"[1, 2, 30, 40]",0\na.jpg,,1\n'
    yield "captions.txt", b"a.jpg#0\tA dog.\na.jpg#1\tA dog, sitting.\n"
    yield "results.csv", b"image_name| comment_number| comment\na.jpg| 0| A dog.\n"
    split = {"filename": "a.jpg", "split": "val", "sentences": [{"raw": "A dog."}]}
    yield "dataset.json", json.dumps({"images": [split, split | {"split": "test"}]}).encode()
    yield "a.boxes.txt", b"0 0.5 0.5 0.2 0.4\n0 0.1 0.1 0.4 0.1 0.4 0.4\n"
    yield "data.yaml", b"names: [dog, 'a cat']\ntrain: .\nval: [images]\nkpt_shape: [2, 3]\n"
    yield (
        "voc.xml",
        b"<annotation><filename>a.jpg</filename><object><name>dog</name><bndbox><xmin>1</xmin>"
        b"<ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>",
    )


def _annotation_suffix(content: bytes) -> str:
    if content.startswith(b"PAR1"):
        return ".parquet"
    beginning = content.lstrip()
    if beginning.startswith(b"<"):
        return ".xml"
    if beginning.startswith(b"{"):
        return ".json" if b'"images"' in content else ".jsonl"
    if beginning[:1].isdigit():
        return ".boxes.txt"
    if beginning.startswith(b"names"):
        return ".yaml"
    return ".txt" if b"\t" in content.partition(b"\n")[0] else ".csv"


def _read_video(file: Path) -> None:
    from vision_transfer.videos import _rows

    for row in itertools.islice(_rows([file], file.parent, 16, 3, ()), 50):
        assert row["problem"] or row["frame"].shape == (3, 16, 16)


def _videos(folder: Path) -> Files:
    from tests.vision_transfer.films import moving_disc, write_film

    for ending in ("mp4", "avi", "mkv"):
        path = write_film(folder / f"film.{ending}", moving_disc(0, count=6, side=32))
        yield path.name, path.read_bytes()
    turned = {"codec": "mpeg4", "turned": (90, True)}
    for ending, options in {
        "3gp": turned,
        "ts": {"codec": "mpeg2video", "format": "mpegts"},
    }.items():
        path = write_film(folder / f"film.{ending}", moving_disc(0, count=6, side=32), **options)
        yield path.name, path.read_bytes()


def _no_suffix(_: bytes) -> str:
    return ""


def written(target: Target, content: bytes, folder: Path) -> Path:
    """A file with some content, and nothing of earlier ones beside it."""
    for file in folder.glob("input*"):
        file.unlink()
    path = folder / f"input{target.suffix(content)}"
    path.write_bytes(content)
    return path


TARGETS = {
    "mails": Target(
        _read_mails,
        _mails,
        lambda content: "" if content.startswith(b"From ") else ".eml",
        (
            *("nlp_transfer.emails", "email", "html", "_markupbase", "bs4", "quopri", "base64"),
            *("oxmsg", "olefile"),
        ),
    ),
    "tables": Target(
        _read_tables,
        _tables,
        _table_suffix,
        ("nlp_transfer.emails", "staged_training", "json", "csv", "chardet", "openpyxl"),
    ),
    "vectors": Target(
        _read_vectors,
        _vectors,
        _no_suffix,
        ("nlp_transfer.word_vectors", "gzip", "zipfile"),
    ),
    "images": Target(_read_image, _images, _no_suffix, ("staged_training.runtime.photos", "PIL")),
    "scans": Target(_read_scan, _scans, _scan_suffix, ("vision_transfer.ct", "pydicom", "nibabel")),
    "annotations": Target(
        _read_annotations,
        _annotations,
        _annotation_suffix,
        (
            "vision_transfer.detection",
            "vision_transfer.captioning",
            "staged_training.tables.reading",
            "json",
        ),
    ),
    "videos": Target(_read_video, _videos, _no_suffix, ("vision_transfer.videos",)),
}
