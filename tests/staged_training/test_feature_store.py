"""Features in a file are those in memory, to the last bit, and to read them takes no memory."""

import pickle
import resource

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from staged_training import InputError
from staged_training.features.store import FeatureDataset, collate_features, kept, read


def parts(dtype=torch.float32):
    """Features of texts in three parts, of four texts each."""
    generator = torch.Generator().manual_seed(0)
    for number in range(3):
        lengths = torch.tensor([3, 1, number + 2, 5])
        features = torch.randn(int(lengths.sum()), 6, generator=generator).to(dtype)
        yield {
            "features": features,
            "features.lengths": lengths,
            "labels": torch.arange(4) + 4 * number,
        }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_file_holds_what_memory_would_and_safetensors_can_read_it(dtype, tmp_path):
    file = tmp_path / "features.safetensors"
    in_memory, in_file = kept(parts(dtype)), kept(parts(dtype), file)
    for found in (in_file.columns, read(file).columns, load_file(file)):
        assert found.keys() == in_memory.columns.keys()
        for name, column in in_memory.columns.items():
            assert found[name].dtype == column.dtype
            assert torch.equal(found[name], column), name
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_file_of_safetensors_can_be_read(tmp_path):
    columns = dict(kept(parts()).columns)
    save_file(columns, tmp_path / "features.safetensors")
    found = read(tmp_path / "features.safetensors").columns
    assert all(torch.equal(found[name], column) for name, column in columns.items())


@pytest.mark.parametrize("rooms", [0, 1, 2])
def test_what_outgrows_memory_goes_to_a_file_that_nobody_has_to_remove(
    rooms, tmp_path, monkeypatch
):
    in_memory = kept(parts())
    free = 4 * sum(part["features"].nbytes for part in list(parts())[:rooms])
    memory = psutil.virtual_memory()._replace(available=free)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    in_file = kept(parts())
    assert list(tmp_path.iterdir()) == []
    assert in_memory._pages is None and in_file._pages is not None
    for dataset in (in_file, pickle.loads(pickle.dumps(in_file))):
        for row in range(12):
            for name, value in in_memory[row].items():
                assert torch.equal(dataset[row][name], value)


@pytest.mark.parametrize("damage", [b"", b"\0" * 20, b"\xff" * 20])
def test_a_damaged_file_is_refused_by_name(damage, tmp_path):
    file = tmp_path / "features.safetensors"
    file.write_bytes(damage)
    with pytest.raises(InputError, match=r"features\.safetensors: is not a complete feature file"):
        read(file)
    kept(parts(), file)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"features\.safetensors: is not a complete feature file"):
        read(file)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"F32"', b'"I32"'),
        (b'"shape": [12]', b'"shape": [99]'),
        (b'"shape": [12]', b'"shape": 1200'),
        (b'"data_offsets": [0', b'"data_offsets": [9'),
        (b'"features.lengths"', b'"features_lengths"'),
        (b"{", b"["),
    ],
)
def test_a_header_that_was_changed_is_refused(old, new, tmp_path):
    file = tmp_path / "features.safetensors"
    kept(parts(), file)
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new, 1))
    with pytest.raises(InputError, match=r"features\.safetensors: is not a complete feature file"):
        read(file)


@pytest.mark.parametrize("place", [4096, 4500, -1])
def test_a_number_that_was_changed_is_refused(place, tmp_path):
    file = tmp_path / "features.safetensors"
    kept(parts(), file)
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"features\.safetensors: is not a complete feature file"):
        read(file)


@pytest.fixture
def small_files():
    """No file may grow beyond 4,200 bytes, as where a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_200, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("beyond_memory", [True, False])
def test_a_full_disk_is_told(beyond_memory, small_files, tmp_path, monkeypatch):
    memory = psutil.virtual_memory()._replace(available=0)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(InputError, match=r"features.* cannot be written \(File too large\)"):
        kept(parts(), None if beyond_memory else tmp_path / "features.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_an_epoch_on_a_file_leaves_the_memory_of_the_process_as_it_was(tmp_path):
    rows = ({"features": torch.full((1000, 1000), float(n))} for n in range(50))  # 200 MB
    features = kept(rows, tmp_path / "features.safetensors")
    process = psutil.Process()
    before = process.memory_info().rss
    total, most = 0.0, 0
    for batch in DataLoader(features, 8, shuffle=True, collate_fn=collate_features):
        total += batch["features"].sum().item()
        most = max(most, process.memory_info().rss - before)
    assert total == sum(range(50)) * 1e6
    assert most < 50e6


def test_without_a_file_to_read_from_nothing_is_let_go():
    features = FeatureDataset({"features": torch.arange(6.0).view(3, 2)})
    assert [row["features"].tolist() for row in features.__getitems__([2, 0])] == [[4, 5], [0, 1]]
