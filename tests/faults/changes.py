"""What is changed in the data of a run that was interrupted, and changed back afterwards."""

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pydicom
from PIL import Image, ImageOps

from tests.vision_transfer.films import moving_disc, write_film


@contextmanager
def changed(folder, random):
    """One file in a folder is another for a while; tells which, and how it was changed.

    Every kind of file is as likely as the others, however many there are of it.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    kind = random.choice(sorted({path.suffix for path in files}))
    file = Path(random.choice([path for path in files if path.suffix == kind]))
    with TemporaryDirectory(dir=folder.parent) as aside:
        whole = file.rename(Path(aside) / file.name)
        try:
            yield f"{file.name}: {_CHANGES[kind](whole, file, random)}"
        finally:
            whole.replace(file)


def _table(whole, file, random):
    """Leave a row out, or let two rows have each other's value."""
    read, write = _TABLES[file.suffix]
    table = read(whole)
    rows = random.choice(len(table), 2, replace=False)
    columns = [name for name in table if table[name].iloc[rows].astype(str).nunique() == 2]
    if random.random() < 0.5 or not columns:
        write(table.drop(index=table.index[rows[0]]), file)
        return f"row {rows[0]} is missing"
    column = table.columns.get_loc(random.choice(columns))
    first, second = table.iat[rows[0], column], table.iat[rows[1], column]
    table.iat[rows[0], column], table.iat[rows[1], column] = second, first
    write(table, file)
    return f"{table.columns[column]} of rows {rows[0]} and {rows[1]} is swapped"


def _photo(whole, file, random):
    with Image.open(whole) as photo:
        ImageOps.mirror(photo).save(file, photo.format)
    return "is mirrored"


def _film(whole, file, random):
    write_film(file, moving_disc(int(random.integers(100, 200))))
    return "is another film"


def _scan(whole, file, random):
    scan = pydicom.dcmread(whole)
    scan.PixelData = scan.PixelData[:-1] + bytes([scan.PixelData[-1] ^ 1])
    scan.save_as(file)
    return "has another voxel"


_TABLES = {
    ".parquet": (pd.read_parquet, lambda table, file: table.to_parquet(file)),
    ".jsonl": (
        lambda file: pd.read_json(file, lines=True),
        lambda table, file: table.to_json(file, orient="records", lines=True),
    ),
    ".csv": (
        lambda file: pd.read_csv(file, dtype=str),
        lambda table, file: table.to_csv(file, index=False),
    ),
}
_CHANGES = {
    **dict.fromkeys(_TABLES, _table),
    **dict.fromkeys([".jpg", ".png"], _photo),
    ".mp4": _film,
    ".dcm": _scan,
}
