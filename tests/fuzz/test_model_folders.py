"""A damaged folder of a model is refused in one line, or gives the scores of the whole one."""

import json
from functools import reduce
from operator import getitem

import pytest
from safetensors.torch import load_file, save_file

from staged_training import InputError
from staged_training.runtime.seal import FILE_NAME, check_seal
from tests.fuzz.limits import limited
from tests.fuzz.model_folders import MODELS, count_verdicts, predicted, source_of


@pytest.mark.parametrize("model", MODELS)
def test_a_damaged_model_is_refused_or_gives_the_same_scores(model):
    counts = count_verdicts([model], 25, seed=1)
    assert counts["refused"] > 15


@pytest.mark.parametrize(
    "file, key, value",
    [
        ("config.json", "num_hidden_layers", 10**9),
        ("config.json", "vocab_size", 10**9),
        ("config.json", "num_hidden_layers", 1),
        ("config.json", "positive_label", "none of them"),
        ("config.json", "id2label", {"0": "calm", "1": "calm"}),
        ("config.json", "model_type", False),
        ("tokenizer_config.json", "model_max_length", "x"),
        ("tokenizer_config.json", "model_max_length", -1),
    ],
)
def test_a_damaged_model_without_checksums_is_refused(file, key, value, tmp_path):
    folder = tmp_path / "model"
    MODELS["recurrent"](folder)
    (folder / FILE_NAME).unlink()
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | {key: value}))
    with limited(seconds=5, most_bytes=2**28):
        told = predicted(folder, source_of("recurrent", tmp_path))
    assert (told.status, told.out, told.err.count("\n")) == (2, "", 1), told
    assert str(folder) in told.err


@pytest.mark.parametrize(
    "model, file, keys, value",
    [
        ("classifier", "config.json", ["pretrained_cfg", "mean"], [0.5, -1, 0.5]),
        ("classifier", "config.json", ["pretrained_cfg", "std"], [0, 0, 0]),
        ("captioner", "processor_config.json", ["image_processor", "image_mean"], 1.5),
        ("captioner", "processor_config.json", ["image_processor", "rescale_factor"], 1e9),
        ("detector", "preprocessor_config.json", ["image_std"], [0.5, 1e30, 0.5]),
        ("encoder", "config.json", ["base_config", "layer_norm_eps"], 1),
        ("encoder", "config.json", ["base_config", "layer_norm_eps"], -1),
    ],
)
def test_values_that_no_model_has_are_refused(model, file, keys, value, tmp_path):
    folder = tmp_path / "model"
    MODELS[model](folder)
    (folder / FILE_NAME).unlink()
    content = json.loads((folder / file).read_text())
    *outer, last = keys
    reduce(getitem, outer, content)[last] = value
    (folder / file).write_text(json.dumps(content))
    told = predicted(folder, source_of(model, tmp_path))
    assert (told.status, told.out, told.err.count("\n")) == (2, "", 1), told
    assert str(folder) in told.err and last.removeprefix("layer_norm_") in told.err


@pytest.mark.parametrize(
    "model, weight, value",
    [
        ("recurrent", "classifier.weight", 0),
        ("recurrent", "recurrent.layers.0.weight_ih_l0", 0),
        ("classifier", "timm_model.conv1.0.weight", 0),
        ("classifier", "timm_model.conv1.1.running_var", float("inf")),
        ("classifier", "timm_model.conv1.1.running_mean", 1e30),
    ],
)
def test_weights_that_no_model_has_are_refused(model, weight, value, tmp_path):
    folder = tmp_path / "model"
    MODELS[model](folder)
    (folder / FILE_NAME).unlink()
    tensors = load_file(folder / "model.safetensors")
    tensors[weight].fill_(value)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    told = predicted(folder, source_of(model, tmp_path))
    assert told.status == 2 and f"the weight {weight} holds invalid values" in told.err


def test_a_tokenizer_that_panics_is_told_in_one_line(tmp_path, capfd):
    folder = tmp_path / "model"
    MODELS["recurrent"](folder)
    (folder / FILE_NAME).unlink()
    content = json.loads((folder / "tokenizer.json").read_text())
    content["post_processor"]["single"].append({"SpecialToken": {"id": "none", "type_id": 0}})
    (folder / "tokenizer.json").write_text(json.dumps(content))
    told = predicted(folder, source_of("recurrent", tmp_path))
    assert told.status == 2 and told.err.count("\n") == 1
    assert "panicked" not in capfd.readouterr().err


def test_familiarity_that_is_damaged_is_refused(tmp_path):
    folder = tmp_path / "model"
    MODELS["classifier"](folder)
    (folder / FILE_NAME).unlink()
    file = folder / "familiarity.safetensors"
    for damaged in (b"", file.read_bytes()[:-10]):
        file.write_bytes(damaged)
        told = predicted(folder, source_of("classifier", tmp_path))
        assert told.status == 2 and "familiarity.safetensors is damaged" in told.err
    file.unlink()
    file.symlink_to("nowhere")
    assert predicted(folder, source_of("classifier", tmp_path)).status == 2


def test_a_file_that_was_changed_on_purpose_is_told_how_to_be_accepted(tmp_path):
    MODELS["recurrent"](tmp_path / "model")
    check_seal(str(tmp_path / "model"))
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(InputError, match=r"config.json is not the file.*delete SHA256SUMS"):
        check_seal(str(tmp_path / "model"))
    (tmp_path / "model" / FILE_NAME).unlink()
    check_seal(str(tmp_path / "model"))
