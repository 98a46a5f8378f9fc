"""Email urgency: from GloVe vectors to a tuned model that tells urgent mail, in stages.

What it does, on each fold and for each seed:
  1. builds the task vocabulary from the training texts and aligns it to word vectors (E_T);
  2. trains a recurrent net and its head on the frozen embedding, then fine-tunes the embedding too
     at a smaller rate; the epoch that is best on validation is kept in each stage;
  3. where there is a related task (the proxy task), trains such a net on it first in the same two
     stages, keeps of it the embedding, and goes on from there with new layers as in 2; to keep its
     recurrent layers too made urgency worse on validation;
  4. measures all of it beside a majority vote, logistic regression on TF-IDF, and the same net on a
     random embedding, which shows what the word vectors gave.
With --base bert, or any other encoder, it takes that in place of the word vectors: the encoder
computes its features of every text once, a head is trained on them, and then the encoder is
fine-tuned with it, each layer slower than the one above. Long texts are read window by window.
With --compare it trains all of these, and vectors and a language model that it learns from related
mails, and tells them apart in one table and a plot of what few labels are worth.

What it costs: about two minutes for one fold on two cores, and 1 GB of memory.
What it prints: the table of models, the stages of the one that validation chose, five predictions,
and where the model and the report are. It stops before any work where the input cannot be used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nlp_transfer import open_vectors
from nlp_transfer.corpus import Corpus
from nlp_transfer.encoder_classifier import PACKAGED, load_encoder_classifier
from nlp_transfer.evaluation import require_gensim
from nlp_transfer.text_task import ProxyTask, TextTask, read_proxy, read_task
from recipes.email_urgency_comparison import compare, tell
from recipes.email_urgency_report import Findings, print_findings, write_findings
from recipes.email_urgency_ways import (
    Problem,
    encoder_way,
    evaluate_all,
    long_enough,
    quick,
    refit,
    vector_ways,
)
from staged_training import InputError
from staged_training.experiment.outcome import mean_rows
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.splits import chosen_folds
from staged_training.recipe import RunArguments, option, parse_arguments, run_config
from staged_training.reporting.hub import push
from staged_training.runtime.errors import in_flags
from staged_training.runtime.processes import is_main_process

DATA = Path(__file__).parent / "data" / "email_urgency"


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    data: str | None = option(
        None,
        "Labelled texts: a table (.csv, .tsv, .jsonl, .parquet, .xlsx), or a folder with one "
        "sub-folder of .eml files per label. Without a column `fold` they are dealt into five"
        " folds, near-duplicates in the same one. By default the 2,000 texts that come with "
        "it.",
    )
    text_columns: list[str] | None = option(
        None,
        "Columns to read as text; `text`, or `subject` and `body`.",
    )
    label_column: str = option("label", "Column of the labels.")
    positive_label: str | None = option(None, "The label that matters; the rarest by default.")
    vectors: str = option(
        "glove-6b-50d",
        "Word vectors: a name, or a file in GloVe, Word2Vec or gensim format.",
    )
    base: str | None = option(
        None,
        "A pretrained encoder in place of the word vectors: `bert` (MiniLM, from a package), "
        "a folder, or a name on the Hub.",
    )
    proxy: str | None = option(
        None,
        "Texts labelled for a related task, to train on first; `none` for none. By default "
        "those that come with the shipped data.",
    )
    proxy_label_column: str = option(
        "asks_for_action",
        "Column of the labels of that task; used of --data too, if it is there.",
    )
    compare: bool = option(
        False,
        "Train every way in place of one and tell them apart in one table: the baselines, a "
        "random embedding, the word vectors, the proxy task, vectors and a language model "
        "learnt from --corpus, and the encoder (--base, `bert` by default); with all labels, "
        "and with 100, 200 and 500.",
    )
    corpus: str | None = option(
        None,
        "Texts without labels for --compare to learn from, as `run word-embeddings --data` "
        "takes them. By default the 7,427 mails that come with it.",
    )
    folds: str | None = option(
        None,
        "`all` for the whole protocol, or the number of the fold to test on. By default 0, "
        "and with --compare all unless it is --quick.",
    )
    seed: int = option(0, "First random seed.")
    seeds: int = option(1, "How many seeds to average over.")
    refit: bool = option(
        False,
        "Save a model that is trained once more, on all labelled texts, with what validation "
        "chose. Its test scores are those of the evaluation.",
    )
    quick: bool = option(False, "One epoch per stage: does it all run, in a minute?")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "email-urgency", __doc__)
    if arguments.seeds < 1:
        raise InputError(f"--seeds is {arguments.seeds}; it takes at least one to train a model.")
    if arguments.compare:
        check_comparable(arguments)
        corpus = Corpus(arguments.corpus or DATA.parent / "related_emails")
    run = RunFolder(Path(arguments.output_dir), run_config(arguments), resume=arguments.resume)
    problem = read_problem(arguments)
    destination = arguments.destination()
    task = problem.task
    by_default = "all" if arguments.compare and not arguments.quick else "0"
    folds = chosen_folds(arguments.folds or by_default, task.folds)
    seeds = list(range(arguments.seed, arguments.seed + arguments.seeds))
    if arguments.compare:
        run.open(corpus.files, *problem.read)
        comparison = compare(run, problem, corpus, folds, seeds, hasty=arguments.quick)
        if is_main_process():
            tell(run, problem, comparison, folds, run_config(arguments))
            run.close()
        return
    knowledge, cut = problem.what_it_knows()
    print(f"{knowledge}\n")

    run.open((), *problem.read)
    outcomes = evaluate_all(run, problem, problem.ways, folds, seeds)
    rows = mean_rows(outcomes)
    way_of = {row: way for way in problem.ways for row in way.rows()}
    candidates = [r for r in rows if r.name in way_of and way_of[r.name].kind != "control"]
    chosen = max(candidates, key=lambda row: row.metrics["validation_average_precision"]).name
    way = way_of[chosen]
    of_chosen = [item for of_fold in outcomes for item in of_fold if item.model == chosen]
    if arguments.refit:
        print(f"On all {len(task.all.texts):,} texts: {chosen}", flush=True)
        run.run_cached("refit", partial(refit, problem, way, of_chosen, seeds[0]))
        run.publish(run.runs / "refit" / "model")
    else:
        first = run.runs / f"fold-{folds[0]}" / f"seed-{seeds[0]}" / way.name
        run.publish(first / "models" / chosen)
    if not is_main_process():
        return
    findings = Findings(
        reference=destination.repo_id if destination else str(run.path),
        task=task,
        knowledge=knowledge,
        cut=cut,
        rows=rows,
        rows_of={way.kind: way.rows() for way in problem.ways},
        chosen=of_chosen[0],
        folds=folds,
        seeds=seeds,
        refit=arguments.refit,
        quick=arguments.quick,
        shipped=arguments.data is None,
        licensed=arguments.data is None
        and (arguments.base or arguments.vectors) in (*PACKAGED, Arguments.vectors),
    )
    write_findings(run, findings, run_config(arguments))
    run.close()
    print_findings(run, findings)
    if destination:
        print(f"Uploaded to {push(run.path, destination)}")


def read_problem(arguments: Arguments) -> Problem:
    """Read and check what the recipe works on."""
    task = read_task(
        arguments.data or DATA / "messages.parquet",
        arguments.text_columns,
        arguments.label_column,
        arguments.positive_label,
    )
    if arguments.corpus and not arguments.compare:
        raise InputError(
            "--corpus is what --compare learns from; give that too. To learn word vectors alone: "
            "nlp-transfer run word-embeddings --data CORPUS."
        )
    if arguments.compare:
        proxy = read_proxy_of(arguments, task)
        base = arguments.base or "bert"
        load_encoder_classifier(base, task.names, arguments.seed)  # is it there?
        ways = vector_ways(open_vectors(arguments.vectors), proxy=proxy is not None)
        ways.append(encoder_way(base))
    elif arguments.base:
        if arguments.proxy:
            raise InputError("--proxy tunes word vectors; leave it out where --base is given.")
        load_encoder_classifier(arguments.base, task.names, arguments.seed)  # is it there?
        proxy, ways = None, [encoder_way(arguments.base)]
    else:
        proxy = read_proxy_of(arguments, task)
        ways = vector_ways(open_vectors(arguments.vectors), proxy=proxy is not None)
    size = min(len(task.split(fold).train) for fold in task.fold_numbers)
    ways = quick(ways) if arguments.quick else long_enough(ways, size)
    return Problem(task, proxy, ways, arguments.report_to)


def check_comparable(arguments: Arguments) -> None:
    """Refuse what a comparison cannot do, before any work."""
    for flag, given in {"--refit": arguments.refit, "--push-to-hub": arguments.push_to_hub}.items():
        if given:
            raise InputError(
                f"--compare keeps no model, so that {flag} has none to take. "
                "Compare first, then run the way that you choose."
            )
    require_gensim()


def read_proxy_of(arguments: Arguments, task: TextTask) -> ProxyTask | None:
    """The related task that was asked for, or that comes with the shipped texts."""
    shipped = "none" if arguments.data else DATA / "proxy.parquet"
    source = arguments.proxy or shipped
    if source == "none":
        return None
    try:
        return read_proxy(source, task, arguments.text_columns, arguments.proxy_label_column)
    except InputError as error:
        raise InputError(in_flags(error, label_column="--proxy-label-column")) from error


if __name__ == "__main__":
    main()
