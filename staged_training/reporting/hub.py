"""What the Hub needs of a trained model: a card that it can validate, and the upload."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData, get_token
from huggingface_hub.errors import HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id

from staged_training.experiment.outcome import Row
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import written_whole
from staged_training.runtime.printable import printable, shell_path

logger = logging.getLogger(__name__)

_WAITS = (2, 8)  # seconds
_MAY_PASS = (408, 429, 500, 502, 503, 504)

# What is not for all who see the model, and what was needed to train it.
_STAYS = ("report/*", "runs/*", "_stages/*")
_EXCLUDE = " ".join(f"--exclude '{pattern}'" for pattern in _STAYS)

OWN_LICENSE = (
    "Whoever trained it has to say: it depends on their texts or images, and on the weights that "
    "it began as. Put it in the front matter of this card, as `license`."
)


@dataclass(frozen=True)
class Destination:
    """Where on the Hub a model goes.

    Attributes:
        repo_id: Its name, `OWNER/NAME`; without an owner that of who is logged in.
        private: Whether only they can see it, if it is new.
        revision: The branch to upload to, made if it is not there; `main` by default.
        create_pr: Open a pull request, in place of changing what is there.
    """

    repo_id: str
    private: bool = False
    revision: str | None = None
    create_pr: bool = False


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
    task: Task | None,
    row: Row,
    sections: Sequence[str],
    *,
    license_id: str | None,
    tags: Sequence[str],
    language: str | None = None,
) -> None:
    """Write the model card `README.md`, with the test metrics of `row` in its `model-index`.

    Args:
        folder: The folder of the saved model.
        title: The name of the model.
        task: What the model does, and on which data it was measured; `None` for what no pipeline
            of `transformers` runs, such as word vectors.
        row: The test metrics.
        sections: Markdown that follows the title.
        license_id: License of the weights, as the Hub names it; `None` if the user has to say.
        tags: Further tags.
        language: Of the texts, as an ISO 639 code.
    """
    measured: dict[str, Any] = {}
    if task:
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
        measured = {"pipeline_tag": task.pipeline, "model_name": title, "eval_results": results}
    data = ModelCardData(
        language=language,
        license=license_id,
        library_name="transformers" if task else "nlp-transfer",
        tags=["nlp-transfer", *tags],
        **measured,
    )
    content = "\n\n".join([f"---\n{data.to_yaml()}\n---", f"# {title}", *sections])
    with written_whole(folder / "README.md") as path:
        ModelCard(printable(content + "\n")).save(path)


def usage(
    pipeline: str,
    reference: str,
    example: str,
    first: str = "",
    *,
    trusts_code: bool = False,
    does: str = "classify",
    options: str = "",
) -> str:
    """Return the code that uses a model, for its card.

    Args:
        pipeline: The `pipeline` that runs it.
        reference: What it is loaded by.
        example: What it is to be tried on, in Python.
        first: A line to begin with.
        trusts_code: Whether it is loaded by code that comes with it.
        does: What it does, which the pipeline is called.
        options: What else it is called with.
    """
    trust = ", trust_remote_code=True" if trusts_code else ""
    lines = [
        *([first] if first else []),
        "from transformers import pipeline",
        "",
        f'{does} = pipeline("{pipeline}", model={reference!r}{trust})',
        f"print({does}({example}{options}))",
    ]
    return "\n".join(["```python", *lines, "```"])


def usage_with_code(
    pipeline: str,
    reference: str,
    example: str,
    package: str,
    install: str,
    does: str = "classify",
    options: str = "",
) -> str:
    """Return, for its card, how to use a model with code of this project: with it and without.

    Args:
        pipeline: As for `usage`; so are `reference`, `example` and `does`.
        reference: What the model is loaded by.
        example: What it is to be tried on.
        package: The package that makes the model known.
        install: What `pip` installs for that.
        does: What the model does.
        options: What else it is called with.
    """
    code = partial(usage, pipeline, reference, example, does=does, options=options)
    return "\n\n".join(
        [
            f"With `pip install {install}`:",
            code(f"import {package}"),
            "Without it, by the code that comes with the model; read that first:",
            code(trusts_code=True),
        ]
    )


def check_push(destination: Destination) -> Destination:
    """Check, before any training, whether a push can work.

    Returns:
        The destination with its whole name, the owner included.

    Raises:
        InputError: The name is none that the Hub accepts, nobody is logged in, the token is not
            good for it, what is to be private is there for all to see, or the Hub is not reached.
    """
    name = destination.repo_id
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise _refused(f"`push_to_hub` {name!r} is not a name for the Hub: {error}") from error
    if destination.create_pr and destination.revision:
        raise _refused("`create_pr` opens a pull request on main; leave `hub_revision` out.")
    if get_token() is None:
        raise _refused(
            f"`push_to_hub` {name!r} needs a login: run `hf auth login`, or set HF_TOKEN."
        )
    api = HfApi()
    try:
        me = _insist(api.whoami)
        whole = replace(destination, repo_id=name if "/" in name else f"{me['name']}/{name}")
        is_public = api.repo_exists(whole.repo_id) and not api.model_info(whole.repo_id).private
    except (HTTPError, OSError) as error:
        raise _refused(
            f"`push_to_hub` {name!r}: the Hub does not answer as it should ({_said(error)}). A "
            "token that is refused is renewed by `hf auth login`. Or train without `push_to_hub`, "
            f"and upload the folder later with `hf upload {name} FOLDER {_EXCLUDE}`."
        ) from error
    if me.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise _refused(
            f"`push_to_hub` {name!r}: the token is read-only. Make one that may write in "
            "the settings of the Hub, and log in by `hf auth login`."
        )
    writable = [me["name"], *(owner["name"] for owner in me.get("orgs", []))]
    if whole.repo_id.split("/")[0] not in writable and not whole.create_pr:
        raise _refused(
            f"`push_to_hub` {name!r}: you are {me['name']} on the Hub, and can upload for "
            f"{', '.join(writable)}. Give one of these names, or offer it by `create_pr`."
        )
    if whole.private and is_public:
        raise _refused(
            f"`hub_private_repo`: {whole.repo_id} is there already, for all to see. Give another "
            "name, or make it private in its settings on the Hub first."
        )
    return whole


def _refused(message: str) -> InputError:
    names = ["push_to_hub", "hub_private_repo", "hub_revision", "create_pr"]
    return InputError(message, names)


def push(folder: Path, destination: Destination) -> str:
    """Upload a saved model with its card, and return the address of the commit.

    The report stays: it quotes mails and shows photos, which are not for all who see the model.
    What may pass, such as a server that is busy or a connection that broke, is tried again. Files
    that are on the Hub already are not sent twice.

    Raises:
        InputError: It failed for good. The folder is as it was; the message says how to continue.
    """
    api, to = HfApi(), destination
    try:
        if not to.create_pr:
            _insist(api.create_repo, to.repo_id, private=to.private or None, exist_ok=True)
            if to.revision:
                _insist(api.create_branch, to.repo_id, branch=to.revision, exist_ok=True)
        # Asked twice, it would open two pull requests; commits that change nothing are not made.
        upload = api.upload_folder if to.create_pr else partial(_insist, api.upload_folder)
        commit = upload(
            repo_id=to.repo_id,
            folder_path=folder,
            revision=to.revision,
            create_pr=to.create_pr,
            ignore_patterns=list(_STAYS),
            commit_message="Upload model and card",
        )
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"The upload to {to.repo_id} failed: {_said(error)}. The model is whole in {folder}. "
            "Where the login or its rights are refused, run `hf auth login`; then go on with "
            f"`hf upload {to.repo_id} {shell_path(folder)} {_EXCLUDE}`, which sends only what is "
            "not there yet."
        ) from error
    return str(commit.pr_url or commit.commit_url)


def _insist(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call the Hub, and retry later a failure that may pass.

    `huggingface_hub` does so for uploads of files, but not for commits and new repositories.
    """
    for wait in _WAITS:
        try:
            return call(*args, **kwargs)
        except HTTPError as error:
            answer = getattr(error, "response", None)
            if answer is not None and answer.status_code not in _MAY_PASS:
                raise
            after = "" if answer is None else answer.headers.get("Retry-After", "")
            seconds = int(after) if after.isdigit() else wait
            logger.warning("The Hub: %s. Trying again in %d s.", _said(error), seconds)
            time.sleep(seconds)
    return call(*args, **kwargs)


def _said(error: BaseException) -> str:
    """Return the message of an error and of its cause, in one line."""
    texts = [str(error), str(error.__cause__ or "")]
    lines = [" ".join(text.split()) for text in texts if text.strip()]
    return "; ".join(dict.fromkeys(lines)) or type(error).__name__
