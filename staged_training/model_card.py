"""The model card of a model that was trained in stages."""

from collections.abc import Sequence
from typing import Any, cast

from huggingface_hub import ModelCardData

from staged_training.runtime.markdown import markdown_table
from staged_training.stages import StageResult

FROZEN = (
    "Frozen means that nothing in a layer changes: no gradient, no optimizer state, no weight "
    "decay, BatchNorm statistics and other buffers unchanged, no dropout. Each stage ends with the "
    "weights of its epoch that scored best on validation. If no epoch scored better than the "
    "weights it started from, these are kept: the stage is undone."
)
UNDONE = "undone: no epoch was better than its start"


def stage_table(stages: Sequence[StageResult]) -> str:
    """Return what each stage trained and left frozen, as a Markdown table."""
    return markdown_table(
        ["stage", "trained", "frozen", "parameters", "epochs", "best epoch", "score", "seconds"],
        [
            [
                stage.name,
                ", ".join(stage.trained),
                ", ".join(stage.frozen) or "nothing",
                f"{stage.trainable_parameters:,}",
                stage.epochs,
                stage.best_epoch or UNDONE,
                _score(stage),
                f"{stage.seconds:.1f}",
            ]
            for stage in stages
        ],
    )


def _score(stage: StageResult) -> str:
    undone = stage.best_epoch == 0  # then the score is that of the row before
    return "" if undone or stage.best_score is None else f"{stage.best_score:.3f}"


def model_card(
    title: str,
    results: Sequence[StageResult],
    language: str | None = None,
    license: str | None = None,
    tags: str | list[str] | None = None,
    model_name: str | None = None,
    finetuned_from: str | None = None,
    tasks: str | list[str] | None = None,
    dataset_tags: str | list[str] | None = None,
    dataset: str | list[str] | None = None,
    dataset_args: str | list[str] | None = None,
) -> str:
    """Return a model card that lists the stages, of which that of `Trainer` knows nothing.

    Args:
        title: The title if no `model_name` is given.
        results: The results of the stages.
        language: As for `Trainer.create_model_card`; so are all that follow.
        license: Of the model.
        tags: Further tags.
        model_name: Its title.
        finetuned_from: The name of its base on the Hub.
        tasks: The `pipeline` that runs it.
        dataset_tags: Names on the Hub of the data that it was trained on.
        dataset: What people call these data.
        dataset_args: Not used.
    """
    trained_on = [dataset] if isinstance(dataset, str) else dataset or []
    on = f" on {', '.join(trained_on)}" if trained_on else ""
    data = ModelCardData(
        base_model=finetuned_from,
        datasets=dataset_tags,
        language=language,
        library_name="transformers",
        license=license,
        pipeline_tag=cast(Any, tasks),
        tags=["nlp-transfer", *([tags] if isinstance(tags, str) else tags or [])],
    )
    sections = [
        f"---\n{data.to_yaml()}\n---",
        f"# {model_name or title}",
        f"Trained in stages{on}, by NLP Transfer.",
        stage_table(results),
        FROZEN,
    ]
    return "\n\n".join(sections) + "\n"
