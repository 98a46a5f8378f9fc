"""The pipeline of image classifiers, which sees every photo as training did."""

from pathlib import Path
from typing import Any, cast

from transformers import ImageClassificationPipeline
from transformers.pipelines import PIPELINE_REGISTRY

from staged_training.runtime.photos import load_rgb


class PhotoClassificationPipeline(ImageClassificationPipeline):
    """The pipeline of `transformers`, with files opened by `load_rgb`.

    It differs in images of more than 8 bits, which `transformers` shows all but white.
    """

    def preprocess(self, image: Any, timeout: Any = None) -> Any:  # type: ignore[override]
        """Prepare an image: a file by its path, or whatever else the pipeline takes."""
        if isinstance(image, str) and Path(image).is_file():
            image = load_rgb(Path(image))
        return cast(Any, super()).preprocess(image, timeout)


PIPELINE_REGISTRY.supported_tasks["image-classification"]["impl"] = PhotoClassificationPipeline
