"""What passes before training: the start of the commands, and the words of the urgency recipe.

`nlp-transfer --help` is timed from the start of its process to its end, beside a process that does
nothing and one that imports `transformers` alone; `nlp-transfer predict` of one mail, by MiniLM
with its convolutional head as it is saved, beside one that imports the class of BERT alone. For one
run of `nlp-transfer run email-urgency` on word vectors it reports how much of the wall time goes to
tokenising, building vocabularies and aligning them to word vectors.

    pip install 'nlp-transfer[assets]'
    python benchmarks/start_up.py [--runs 3]
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median

from contest import PEAK, Section, column, run_benchmark, take_turns
from feature_extraction import Stopwatch

HELP_AIM, PREDICT_AIM, WORDS_AIM = 0.2, 1.0, 0.02
PREDICT, BERT = "nlp-transfer predict, a mail", "python, import BERT"
COMMANDS = {
    "nlp-transfer --help": ["-m", "transfer_app.command_line", "--help"],
    PREDICT: ["-m", "transfer_app.command_line", "predict"],
    BERT: ["-c", "from transformers import BertForSequenceClassification"],
    "python, nothing": ["-c", "pass"],
    "python, import transformers": ["-c", "import transformers; transformers.Trainer"],
}
RECIPE = "nlp-transfer run email-urgency"


def compete(contestant: str, arguments) -> dict[str, float]:
    if contestant == RECIPE:
        return run_recipe(arguments.quick)
    start = time.perf_counter()
    command = [sys.executable, *COMMANDS[contestant]]
    command += [arguments.folder, f"{arguments.folder}/mail.eml"] if contestant == PREDICT else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[1])
    seconds = time.perf_counter() - start
    return {"seconds": seconds, PEAK: getrusage(RUSAGE_CHILDREN).ru_maxrss / 1024}


def save_model(folder: str) -> None:
    """Save a model of mail, and a mail beside it."""
    from nlp_transfer.encoder_classifier import load_encoder_classifier

    model, tokenizer = load_encoder_classifier("bert", ["no", "yes"], seed=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Path(folder, "mail.eml").write_text("Subject: Server\n\nIt is down. Please call.")


def run_recipe(quick: bool) -> dict[str, float]:
    """Run the recipe with a stopwatch on what becomes of the words."""
    start = time.perf_counter()
    from nlp_transfer import candidates
    from nlp_transfer.text_task import LabelledTexts
    from transfer_app.command_line import load_recipe

    os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # other processes have no stopwatch
    watch = Stopwatch()
    LabelledTexts.tokenized = watch.around("tokenise", LabelledTexts.tokenized)
    candidates.token_counts = watch.around("tokenise", candidates.token_counts)
    for name in ("build_vocabulary", "align"):
        setattr(candidates, name, watch.around(name, getattr(candidates, name)))
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--base", "none", "--output-dir", f"{folder}/model"]
        arguments += ["--quick"] if quick else []
        load_recipe("email-urgency").main(arguments)
    seconds = time.perf_counter() - start
    share = sum(watch.seconds.values()) / seconds
    return {"seconds": seconds} | dict(watch.seconds) | {"share of words": share}


def measure(arguments) -> Section:
    with tempfile.TemporaryDirectory() as folder:
        save_model(folder)
        results = take_turns(__file__, COMMANDS, arguments.runs, "--folder", folder)
    results |= take_turns(__file__, [RECIPE], 1)
    seconds = median(column(results, "nlp-transfer --help", "seconds"))
    (share,) = column(results, RECIPE, "share of words")
    times = (column(results, name, "seconds") for name in (PREDICT, BERT))
    ratio = median(own / peer for own, peer in zip(*times, strict=True))
    targets = {
        f"`nlp-transfer --help` within {HELP_AIM:g} seconds ({seconds:.2f})": seconds <= HELP_AIM,
        f"a mail is predicted within {PREDICT_AIM:g}x of importing BERT ({ratio:.2f}x)": (
            ratio <= PREDICT_AIM
        ),
        f"tokenising and aligning take at most {WORDS_AIM:.0%} of the recipe ({share:.1%})": (
            share <= WORDS_AIM
        ),
    }
    return Section(__doc__, results, [], targets)


def options(parser) -> None:
    parser.add_argument("--folder", help="of the model that predicts")


if __name__ == "__main__":
    sys.exit(run_benchmark(__doc__, compete, measure, options))
