import json
from pathlib import Path

import pytest
from PIL import Image

PETS = Path(__file__).parents[3] / "recipes" / "data" / "pets"


@pytest.fixture
def folder(tmp_path):
    """A folder of three photos, each 100 pixels wide and 80 high."""
    for name, color in {"a.jpg": "red", "b.jpg": "green", "c.jpg": "blue"}.items():
        Image.new("RGB", (100, 80), color).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def coco(folder):
    """Write a COCO file of these photos; returns its path."""

    def write(annotations, **changes):
        content = {
            "images": [{"id": n, "file_name": f"{name}.jpg"} for n, name in enumerate("abc")],
            "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
            "annotations": annotations,
        }
        path = folder / "boxes.json"
        path.write_text(json.dumps(content | changes))
        return path

    return write


@pytest.fixture
def table(folder):
    """Write a table of these photos; returns its path."""

    def write(*rows):
        path = folder / "metadata.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write
