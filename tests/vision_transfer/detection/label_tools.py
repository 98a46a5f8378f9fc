"""The same boxes, as label tools and data sets write them down."""

import json

import numpy as np
import yaml
from PIL import Image

NAMES = ["zebra", "cat", "dog"]
SIZE = (120, 80)
PARTS = {"train": range(0, 6), "valid": range(6, 9), "test": range(9, 12)}

BOXES = {
    f"photo {n}": [
        (NAMES[(n // 3 + k) % 2], (5 * k + n, 3 + n, 40 + 10 * k + n, 50 + n)) for k in range(n % 3)
    ]
    for n in range(12)
}
"""By image, the class and the corners of its boxes; every third has none, and no box is a dog."""

VOC = "<annotation><filename>{name}</filename><size><width>{w}</width><height>{h}</height></size>"
OBJECT = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    "</bndbox></object>"
)


def write_image(path, seed=0, size=SIZE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


def images_in(folder, names=tuple(BOXES), ending=".jpg"):
    for name in names:
        write_image(folder / f"{name}{ending}", list(BOXES).index(name))


def coco_of(names, ending=".jpg", size=SIZE):
    """The content of a COCO file."""
    images = [
        {"id": 5 + n, "file_name": f"{name}{ending}", "width": size[0], "height": size[1]}
        for n, name in enumerate(names)
    ]
    boxes = [
        (5 + n, NAMES.index(label), (x1, y1, x2 - x1, y2 - y1))
        for n, name in enumerate(names)
        for label, (x1, y1, x2, y2) in BOXES[name]
    ]
    return {
        "images": images,
        "categories": [{"id": n, "name": name} for n, name in enumerate(NAMES)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
            for n, (i, c, b) in enumerate(boxes)
        ],
    }


def voc_of(name, filename=None, size=SIZE):
    """The XML of an image, whose pixels count from 1."""
    objects = [
        OBJECT.format(label, x1 + 1, y1 + 1, x2, y2) for label, (x1, y1, x2, y2) in BOXES[name]
    ]
    filename = f"{name}.jpg" if filename is None else filename
    head = VOC.format(name=filename, w=size[0], h=size[1])
    return f"{head}{''.join(objects)}</annotation>"


def yolo_of(name):
    """The lines of an image, in shares."""
    w, h = SIZE
    return "".join(
        f"{NAMES.index(label)} {(x1 + x2) / 2 / w} {(y1 + y2) / 2 / h} {(x2 - x1) / w} "
        f"{(y2 - y1) / h}\n"
        for label, (x1, y1, x2, y2) in BOXES[name]
    )


def parts_of(names=tuple(BOXES)):
    return {part: [list(names)[n] for n in rows] for part, rows in PARTS.items()}


def _text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def coco_file(folder):
    images_in(folder)
    _text(folder / "boxes.json", json.dumps(coco_of(BOXES)))
    return folder / "boxes.json"


def voc_folder(folder):
    images_in(folder / "JPEGImages")
    for name in BOXES:
        _text(folder / "Annotations" / f"{name}.xml", voc_of(name))
    return folder


def xml_beside_images(folder):
    images_in(folder)
    for name in BOXES:
        _text(folder / f"{name}.xml", voc_of(name))
    return folder


def oxford(folder):
    images_in(folder / "images")
    for name in BOXES:
        _text(folder / "annotations" / "xmls" / f"{name}.xml", voc_of(name))
    return folder


def yolo_beside_images(folder):
    images_in(folder)
    for name in BOXES:
        _text(folder / f"{name}.txt", yolo_of(name))
    _text(folder / "classes.txt", "\n".join(NAMES) + "\n")
    return folder


def yolo_folders(folder):
    images_in(folder / "images")
    for name in BOXES:
        _text(folder / "labels" / f"{name}.txt", yolo_of(name))
    _text(folder / "classes.txt", "\ufeff" + "\r\n".join(NAMES))
    _text(folder / "notes.json", json.dumps({"categories": [], "info": {}}))
    return folder


def darknet(folder):
    for name in BOXES:
        _text(folder / "obj_train_data" / f"{name}.txt", yolo_of(name))
    images_in(folder / "obj_train_data")
    _text(folder / "obj.names", "\n".join(NAMES))
    _text(folder / "obj.data", "classes = 3\n")
    return folder


def yolo_description(folder):
    yolo_folders(folder)
    (folder / "classes.txt").unlink()
    names = dict(enumerate(NAMES))
    _text(folder / "a.yaml", yaml.dump({"train": "images", "val": "images", "names": names}))
    return folder / "a.yaml"


WHOLE = [
    coco_file,
    voc_folder,
    xml_beside_images,
    oxford,
    yolo_beside_images,
    yolo_folders,
    darknet,
    yolo_description,
]
"""Writers of the boxes without a split; they return what to read."""


def roboflow_coco(folder):
    for part, names in parts_of().items():
        images_in(folder / part, names)
        _text(folder / part / "_annotations.coco.json", json.dumps(coco_of(names)))
    _text(folder / "README.roboflow.txt", "Exported.")
    return folder


def roboflow_voc(folder):
    for part, names in parts_of().items():
        images_in(folder / part, names)
        for name in names:
            _text(folder / part / f"{name}.xml", voc_of(name))
    return folder


def roboflow_yolo(folder):
    for part, names in parts_of().items():
        images_in(folder / part / "images", names)
        for name in names:
            _text(folder / part / "labels" / f"{name}.txt", yolo_of(name))
    places = {
        key: f"../{part}/images" for key, part in zip(["train", "val", "test"], PARTS, strict=True)
    }
    _text(folder / "data.yaml", yaml.dump({**places, "nc": 3, "names": NAMES}))
    return folder


def roboflow_darknet(folder):
    for part, names in parts_of().items():
        images_in(folder / part, names)
        for name in names:
            _text(folder / part / f"{name}.txt", yolo_of(name))
        _text(folder / part / "_darknet.labels", "\n".join(NAMES))
    return folder


def ultralytics(folder):
    for part, names in parts_of().items():
        images_in(folder / "set" / "images" / part, names)
        for name in names:
            _text(folder / "set" / "labels" / part / f"{name}.txt", yolo_of(name))
    places = {"train": "images/train", "val": ["images/valid"], "test": "images/test"}
    names = dict(enumerate(NAMES))
    _text(folder / "a.yaml", yaml.dump({"path": "set", **places, "names": names}))
    return folder / "a.yaml"


def yolo_lists(folder):
    yolo_folders(folder)
    for part, names in parts_of().items():
        _text(folder / f"{part}.txt", "".join(f"./images/{name}.jpg\n" for name in names))
    places = {"train": "train.txt", "val": "valid.txt", "test": "test.txt"}
    _text(folder / "data.yaml", yaml.dump({**places, "names": NAMES}))
    return folder


def coco_official(folder):
    for part, names in parts_of().items():
        year = part.removesuffix("id") + "2017"
        images_in(folder / year, names)
        _text(folder / "annotations" / f"instances_{year}.json", json.dumps(coco_of(names)))
    return folder


def voc_lists(folder):
    voc_folder(folder)
    for part, names in parts_of().items():
        file = folder / "ImageSets" / "Main" / f"{part.removesuffix('id')}.txt"
        _text(file, "\n".join(names) + "\n")
    _text(folder / "ImageSets" / "Main" / "trainval.txt", "\n".join([*BOXES][:9]))
    return folder


def tables(folder):
    for part, names in parts_of().items():
        images_in(folder / part, names)
        rows = [
            {
                "file_name": f"{name}.jpg",
                "objects": {
                    "bbox": [(x1, y1, x2 - x1, y2 - y1) for _, (x1, y1, x2, y2) in BOXES[name]],
                    "categories": [label for label, _ in BOXES[name]],
                },
            }
            for name in names
        ]
        _text(folder / part / "metadata.jsonl", "\n".join(map(json.dumps, rows)))
    return folder


SPLIT = [
    tables,
    roboflow_coco,
    roboflow_voc,
    roboflow_yolo,
    roboflow_darknet,
    ultralytics,
    yolo_lists,
    coco_official,
    voc_lists,
]
"""Writers of the boxes with a split."""
