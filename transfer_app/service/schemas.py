"""What a service is sent and answers, as its OpenAPI description tells it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from nlp_transfer.emails.body_text import MAX_CHARACTERS
from staged_training.tables.labels import ProblemType

_Absent = SkipJsonSchema[None]  # of a field that is left out, and never null


def _optional(description: str) -> Any:
    return Field(None, description=description, json_schema_extra=_without_default)


def _without_default(field: dict[str, Any]) -> None:
    del field["default"]  # null, which it never is


_SIMILARITY = _optional("To the training examples, where the model knows those")
_ACCEPTED = _optional("Whether that is enough for the answer to mean something")


class Text(BaseModel):
    """A text to predict of; what else its object says is ignored."""

    model_config = ConfigDict(strict=True)

    name: str | _Absent = _optional("What its answer calls it; by default its place")
    text: str = Field(max_length=MAX_CHARACTERS, description="As long as what is read of a mail")


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Answer(_Schema):
    input: str = Field(description="The name of the text, the file, or the message of an mbox")


class Label(_Answer):
    """The likeliest label of an input."""

    label: str
    scores: dict[str, float]
    similarity: float | _Absent = _SIMILARITY
    accepted: bool | _Absent = _ACCEPTED


class Labels(_Answer):
    """All labels that apply to an input."""

    labels: list[str]
    scores: dict[str, float]
    similarity: float | _Absent = _SIMILARITY
    accepted: bool | _Absent = _ACCEPTED


class Number(_Answer):
    """A number that is predicted of an input."""

    value: float
    similarity: float | _Absent = _SIMILARITY
    accepted: bool | _Absent = _ACCEPTED


class Caption(_Answer):
    """What a photo shows."""

    caption: str


class Corners(_Schema):
    """The corners of a box, in pixels of the photo as a person sees it."""

    xmin: int
    ymin: int
    xmax: int
    ymax: int


class Box(_Schema):
    """Something that was found in a photo."""

    label: str
    score: float
    box: Corners


class Boxes(_Answer):
    """All that was found in a photo."""

    boxes: list[Box]


class Unread(_Answer):
    """An input of which nothing can be predicted."""

    problem: str = Field(description="Why it cannot be read")


class Answers(_Schema):
    """What a model says of the inputs of a request."""

    model: str
    version: str
    answers: list[Label | Labels | Number | Caption | Boxes | Unread] = Field(
        description="One for each input, in their order"
    )


class Model(_Schema):
    """A model that is served."""

    name: str
    version: str = Field(description="The beginning of the SHA-256 of its weights")
    task: Literal[
        "text-classification", "image-classification", "image-text-to-text", "object-detection"
    ]
    runs_by: Literal["ONNX Runtime", "PyTorch"]
    labels: list[str] | _Absent = _optional("What a classifier tells apart, or its number")
    problem_type: ProblemType | _Absent = _optional("How the labels of a classifier go together")
    positive_label: str | _Absent = _optional("The label that matters most, if one does")


class Models(_Schema):
    """All models that are served."""

    models: list[Model]


class Health(_Schema):
    """A service that works."""

    status: Literal["ok"] = "ok"


class Refusal(_Schema):
    """Why a request is refused."""

    detail: str
