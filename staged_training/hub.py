"""What the Hub needs of a trained model: a card that it can validate, and the upload."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from staged_training.errors import InputError
from staged_training.outcome import Row


@dataclass(frozen=True)
class Task:
    """A task as the Hub names it, and the data set that a model was measured on.

    Attributes:
        pipeline: The `pipeline` that runs the model, such as `text-classification`.
        dataset_name: What people call the data set.
        dataset_id: Its name on the Hub, or a plain word for data that is not there.
        metrics: Titles of the metrics to publish, by their names in a `Row`.
    """

    pipeline: str
    dataset_name: str
    dataset_id: str
    metrics: dict[str, str]


def write_card(
    folder: Path,
    title: str,
    task: Task,
    row: Row,
    sections: Sequence[str],
    *,
    license_id: str,
    tags: Sequence[str],
) -> None:
    """Write the model card `README.md`, with the test metrics of `row` in its `model-index`.

    Args:
        folder: The folder of the saved model.
        title: The name of the model.
        task: What the model does, and on which data it was measured.
        row: The test metrics.
        sections: Markdown that follows the title.
        license_id: License of the weights, as the Hub names it.
        tags: Further tags.
    """
    results = [
        EvalResult(
            task_type=task.pipeline,
            dataset_type=task.dataset_id,
            dataset_name=task.dataset_name,
            metric_type=name,
            metric_name=label,
            metric_value=round(row.metrics[name], 4),
        )
        for name, label in task.metrics.items()
    ]
    data = ModelCardData(
        license=license_id,
        library_name="transformers",
        pipeline_tag=task.pipeline,
        tags=["nlp-transfer", *tags],
        model_name=title,
        eval_results=results,
    )
    content = "\n\n".join([f"---\n{data.to_yaml()}\n---", f"# {title}", *sections])
    ModelCard(content + "\n").save(folder / "README.md")


def check_push(repo_id: str) -> None:
    """Find out before any training whether a push can be tried at all.

    Raises:
        InputError: The name is none that the Hub accepts, or nobody is logged in.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"--push-to-hub {repo_id!r} is not a name for the Hub: {error}") from error
    if get_token() is None:
        raise InputError(
            f"--push-to-hub {repo_id!r} needs a login: run `hf auth login`, or set HF_TOKEN."
        )


def push(folder: Path, repo_id: str) -> str:
    """Upload a saved model with its card and report; returns the address of the commit."""
    api = HfApi()
    api.create_repo(repo_id, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repo_id,
        folder_path=folder,
        ignore_patterns=["runs/*", "stages/*"],
        commit_message="Upload model, card and report",
    )
    return str(commit.commit_url)
