"""Which classes there are, and how a small model of each is made."""

import copy
import functools
from dataclasses import dataclass

import transformers
from torch import nn
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification, set_seed
from transformers.models.auto import modeling_auto

from tests.architectures.configs import small_config
from tests.architectures.inputs import LABELS
from tests.architectures.timm_members import MEMBERS

TASKS = (
    "sequence classification",
    "token classification",
    "image classification",
    "video classification",
    "audio classification",
    "question answering",
    "multiple choice",
)

_NO_LOSS = "computes no loss: it is for prediction alone"
NOT_BUILT = {
    "DeiTForImageClassificationWithTeacher": _NO_LOSS,
    "DinatForImageClassification": "needs natten, which is not installed",
    "LayoutLMv2ForQuestionAnswering": "needs detectron2, which is not installed",
    "LayoutLMv2ForSequenceClassification": "needs detectron2, which is not installed",
    "LayoutLMv2ForTokenClassification": "needs detectron2, which is not installed",
    "LevitForImageClassificationWithTeacher": _NO_LOSS,
    "MraForMultipleChoice": "gives the same for every choice without its kernel for CUDA",
    "PPLCNetForImageClassification": _NO_LOSS,
    "gemma4_vit_167m_enc": "has no classifier: it is an encoder alone",
    "ShieldGemma2ForImageClassification": "has no head and no loss: a language model answers",
}
"""Classes that are left out, and why."""


@dataclass(frozen=True)
class Case:
    """A class to be tried.

    Attributes:
        task: One of `TASKS`, or `timm`.
        model_type: The architecture's name in `transformers`, or the module of timm.
        class_name: The class in `transformers`, or the architecture in timm.
    """

    task: str
    model_type: str
    class_name: str

    def __str__(self) -> str:
        return f"{self.model_type}-{self.class_name}"

    def build(self) -> nn.Module:
        """Return a new model, with random weights that are always the same."""
        return copy.deepcopy(_built(self))

    def _make(self) -> nn.Module:
        if self.task == "timm":
            _, image_size, options = MEMBERS[self.model_type]
            config = TimmWrapperConfig(
                architecture=self.class_name, num_labels=LABELS, model_args=options
            )
            config.image_size = image_size
            model_class: type[nn.Module] = TimmWrapperForImageClassification
        else:
            options = {"num_labels": 1} if self.task == "multiple choice" else {}
            options = {"num_labels": 2} if self.task == "question answering" else options
            config = small_config(self.model_type, **options)
            model_class = getattr(transformers, self.class_name)
        set_seed(0)
        return _livened(model_class(config))


def _livened(model: nn.Module) -> nn.Module:
    """Draw weights that keep the size of what passes through, as those of a trained model do.

    At initial weights of 0.02 a small convolutional network gives 1e-30 for every image.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
        elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight)
    return model


@functools.lru_cache(maxsize=1)
def _built(case: Case) -> nn.Module:
    return case._make()


def cases() -> list[Case]:
    """All classes, those that cannot be built left out."""
    found = [
        Case(task, model_type, class_name)
        for task in TASKS
        for model_type, names in _mapping(task).items()
        for class_name in ([names] if isinstance(names, str) else names)
        if class_name not in NOT_BUILT and model_type != "timm_wrapper"
    ]
    return found + [
        Case("timm", module, member)
        for module, (member, *_) in MEMBERS.items()
        if member not in NOT_BUILT
    ]


def _mapping(task: str) -> dict[str, str]:
    name = task.upper().replace(" ", "_")
    return getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES")
