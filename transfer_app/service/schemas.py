"""What a service is sent and answers, as its OpenAPI description tells it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field
from pydantic.json_schema import SkipJsonSchema

_Absent = SkipJsonSchema[None]  # of a field that is left out, and never null


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Text(_Schema):
    """A text to predict of."""

    name: str | _Absent = Field(None, description="What its answer calls it; by default its place")
    text: str


class Texts(_Schema):
    """The texts of a request."""

    inputs: Annotated[list[Text], FailFast()] = Field(min_length=1)


class _Answer(_Schema):
    input: str = Field(description="The name of the text, the file, or the message of an mbox")


class _OfClassifier(_Answer):
    similarity: float | _Absent = Field(
        None, description="To the nearest training example, where the model knows them"
    )
    accepted: bool | _Absent = Field(
        None, description="Whether that is enough for the answer to mean something"
    )


class Label(_OfClassifier):
    """The likeliest label of an input."""

    label: str
    scores: dict[str, float]


class Labels(_OfClassifier):
    """All labels that apply to an input."""

    labels: list[str]
    scores: dict[str, float]


class Number(_OfClassifier):
    """A number that is predicted of an input."""

    value: float


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
    problem_type: str | _Absent = Field(None, description="Of a classifier, as in its config.json")
    labels: list[str]
    positive_label: str | _Absent = Field(None, description="The label that matters, if one does")
    runs_by: Literal["ONNX Runtime", "PyTorch"]


class Models(_Schema):
    """All models that are served."""

    models: list[Model]


class Health(_Schema):
    """A service that works."""

    status: Literal["ok"] = "ok"


class Refusal(_Schema):
    """Why a request is refused."""

    detail: str
