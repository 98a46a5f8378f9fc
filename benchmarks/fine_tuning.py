"""Fine-tuning after the head, against fastai's `fine_tune`: 37 breeds of pets.

296 photos to train on and 74 to test (fold 0 of the shipped pets), EfficientNet-Lite0 with the
preprocessing of its pretraining and a new linear head, batches of 32, as many epochs with the base
frozen and as many after, another seed in each round. The toolkit trains the two stages of the
`pet-classifier` recipe: the head, on features computed once, and the top layers with it, on the
features below them. fastai's `fine_tune` trains the head on the frozen base and then all layers, at
its documented default rates. The time counts from the first image read to the last prediction.

    pip install 'nlp-transfer[benchmarks]'
    python benchmarks/fine_tuning.py [--epochs 2] [--runs 3]
"""

import sys
import tempfile
import time
from dataclasses import replace

from contest import Section, compared, run_benchmark, take_turns, time_and_memory
from pets import accuracy, fastai_learner, fastai_predictions, parts, training_arguments


def toolkit(model, train, test, arguments, folder: str):
    """Head first, then the top layers."""
    from transformers import default_data_collator

    from staged_training import Stage, StagedTrainer
    from vision_transfer.candidates import TOP_LAYERS

    epochs = arguments.epochs
    trainer = StagedTrainer(
        model,
        training_arguments(folder, seed=arguments.round),
        [
            Stage("head", train="head", epochs=epochs, learning_rate=1e-2),
            replace(TOP_LAYERS, epochs=epochs),
        ],
        reuse_features=True,
        train_dataset=train,
        data_collator=default_data_collator,
    )
    trainer.train()
    return trainer.predict(test).predictions


def fastai(model, train, test, arguments, folder: str):
    """`fine_tune` on the same model and images."""
    learner = fastai_learner(model, train, test)
    with learner.no_logging():
        learner.fine_tune(arguments.epochs, freeze_epochs=arguments.epochs)
    return fastai_predictions(learner)


CONTESTANTS = {"toolkit": toolkit, "fastai": fastai}


def compete(contestant: str, arguments) -> dict[str, float]:
    from transformers import set_seed

    model, train, test = parts("breed", 40 if arguments.quick else None)
    set_seed(arguments.round)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        logits = CONTESTANTS[contestant](model, train, test, arguments, folder)
        return {"seconds": time.perf_counter() - start, "accuracy": accuracy(logits, test)}


def measure(arguments) -> Section:
    results = take_turns(__file__, CONTESTANTS, arguments.runs)
    what = f"37 breeds, fine-tuned, {arguments.epochs} + {arguments.epochs} epochs"
    rows = time_and_memory(results, ["fastai"], what)
    rows += compared(results, "accuracy", ["fastai"], f"{what}: accuracy", "", more_is_better=True)
    return Section(__doc__, results, rows)


def options(parser) -> None:
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each of the two stages")


if __name__ == "__main__":
    sys.exit(run_benchmark(__doc__, compete, measure, options))
