"""Several processes of one run: one writes, all know, and features are shared out among them."""

import json
from functools import partial

import pytest
import torch
from datasets import Dataset
from joblib.externals.loky import get_reusable_executor
from safetensors.torch import load_file, save_file, save_model
from tokenizers import Tokenizer, models
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    TrainingArguments,
)

from staged_training import InputError, Stage, StagedTrainer
from staged_training.experiment.parallel import run_parallel
from staged_training.features.extraction import compute_features
from staged_training.runtime import processes
from staged_training.runtime.files import written_whole
from tests.processes import in_processes


def compute_and_train(folder):
    """What each process does with data: features, and stages."""
    processes.join()

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = BertConfig(vocab_size=50, intermediate_size=16, **sizes)
    model = BertForSequenceClassification(config)
    words = Tokenizer(models.WordLevel({"[PAD]": 0}, unk_token="[PAD]"))
    collate = DataCollatorWithPadding(
        PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]")
    )
    rows = [[(row * 7 + place) % 49 + 1 for place in range(3 + row % 11)] for row in range(160)]
    masks, labels = [[1] * len(row) for row in rows], [row[0] % 2 for row in rows]
    texts = Dataset.from_dict({"input_ids": rows, "attention_mask": masks, "labels": labels})
    features = compute_features(model, texts, collate, folder / "cache.safetensors", first_group=1)
    save_file(features.columns, folder / f"features-{processes.number()}.safetensors")
    streamed = compute_features(model, texts.to_iterable_dataset(), collate, first_group=1)
    save_file(streamed.columns, folder / f"streamed-{processes.number()}.safetensors")

    arguments = TrainingArguments(
        str(folder / "run"),
        per_device_train_batch_size=16,
        accelerator_config=processes.ONE_BATCH,
        report_to="none",
        disable_tqdm=True,
    )
    stages = [
        Stage("head", train="head", epochs=2, learning_rate=1e-2),
        Stage("top", train="backbone[-1:], head", epochs=2, learning_rate=1e-3),
    ]
    data = {"train_dataset": texts, "eval_dataset": texts, "data_collator": collate}
    StagedTrainer(model, arguments, stages, reuse_features=True, **data).train()
    save_model(model, str(folder / f"model-{processes.number()}.safetensors"))
    arguments.output_dir = str(folder / "run-on-stream")
    data["train_dataset"] = texts.to_iterable_dataset().shuffle(seed=0, buffer_size=160)
    trainer = StagedTrainer(model, arguments, stages, **data)
    trainer.evaluate()  # before the model was ever shared among processes
    trainer.train()
    save_model(model, str(folder / f"stream-model-{processes.number()}.safetensors"))
    processes.leave()


def tell(folder):
    """What the processes tell one another."""
    processes.join()

    def refuse():
        raise InputError("no such file")

    try:
        processes.on_main_process(refuse)
    except InputError as error:
        refused = str(error)
    with written_whole(folder / "told.json") as path:
        path.write_text(json.dumps(processes.number()))
    own = {
        "number": processes.number(),
        "told": processes.on_main_process(processes.number),
        "all": processes.all_of(True),
        "some": processes.all_of(processes.is_main_process()),
        "refused": refused,
        "sum": run_parallel({str(n): partial(pow, n, 2) for n in (2, 3)}, "n"),
    }
    (folder / f"known-{processes.number()}.json").write_text(json.dumps(own))
    processes.leave()
    get_reusable_executor().shutdown()  # a fork would wait for its workers


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What one process and what two left, in a folder each."""
    folders = {}
    for count in (1, 2):
        folders[count] = tmp_path_factory.mktemp(f"run-of-{count}")
        in_processes(count, compute_and_train, folders[count])
    return folders


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """What two processes told one another, in a folder."""
    get_reusable_executor().shutdown()  # a fork would take its workers for its own
    folder = tmp_path_factory.mktemp("known")
    in_processes(2, tell, folder)
    return folder


def test_features_that_are_shared_out_are_those_of_one_process_to_the_last_bit(runs):
    alone = load_file(runs[1] / "features-0.safetensors")
    assert len(alone["features.lengths"]) == 160
    for name in ("features-0", "features-1", "cache", "streamed-0", "streamed-1"):
        shared = load_file(runs[2] / f"{name}.safetensors")
        assert shared.keys() == alone.keys()
        assert all(torch.equal(alone[column], shared[column]) for column in alone)


def test_two_processes_learn_in_stages_what_one_does_and_both_end_with_it(runs):
    for trained in ("model", "stream-model"):
        alone = load_file(runs[1] / f"{trained}-0.safetensors")
        for name in (f"{trained}-0", f"{trained}-1"):
            shared = load_file(runs[2] / f"{name}.safetensors")
            for weight, tensor in alone.items():
                assert torch.allclose(tensor, shared[weight], atol=1e-5), (name, weight)


def test_what_the_first_process_does_all_know(known):
    first, second = (json.loads((known / f"known-{n}.json").read_text()) for n in (0, 1))
    assert (first.pop("number"), second.pop("number")) == (0, 1)
    expected = {"told": 0, "all": True, "some": False, "refused": "no such file", "sum": [4, 9]}
    assert first == second == expected


def test_the_first_process_alone_writes_and_nothing_is_left_of_the_other(runs, known):
    assert json.loads((known / "told.json").read_text()) == 0
    assert len(list(known.iterdir())) == 3
    alone, shared = ({path.name for path in runs[count].iterdir()} for count in (1, 2))
    of_each = ("features", "streamed", "model", "stream-model")
    assert shared - alone == {f"{name}-1.safetensors" for name in of_each}


def test_one_process_is_the_first_and_knows_all():
    rows = {"features": torch.ones(2, 3)}
    assert (processes.number(), processes.count(), processes.is_main_process()) == (0, 1, True)
    assert processes.on_main_process(lambda: 7) == 7
    assert processes.all_of(True) and not processes.all_of(False)
    assert torch.equal(processes.all_gather(rows)["features"], rows["features"])


@pytest.mark.parametrize("count", ["3", "16"])
def test_processes_that_cannot_share_a_batch_are_refused_at_once(monkeypatch, count):
    monkeypatch.setenv("WORLD_SIZE", count)
    with pytest.raises(InputError, match=f"{count} processes cannot share .* Start 2, 4 or 8"):
        processes.join()
