"""How to run an exported classifier without PyTorch, for its card."""

from staged_training.tables.labels import ProblemType

_CODE = """\
import json

import numpy as np
import onnxruntime
{line}

session = onnxruntime.InferenceSession("model.onnx")
facts = session.get_modelmeta().custom_metadata_map
facts = {{name: json.loads(value) for name, value in facts.items()}}
{inputs}
logits = session.run(None, inputs)[0][0]
{scores}
print(dict(zip(facts["labels"], scores.tolist())))"""
_TEXT = """\
tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_truncation(facts["max_length"])
text = tokenizer.encode(EXAMPLE)
inputs = {"input_ids": np.array([text.ids]), "attention_mask": np.array([text.attention_mask])}"""
_WORDS = """\
with open("vocab.json", encoding="utf-8") as file:
    vocab = json.load(file)
words = long_words(EXAMPLE.lower())
ids = [vocab.get(word, vocab["[UNK]"]) for word in words]
inputs = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), int)}"""
_IMAGE = """\
image = ImageOps.exif_transpose(Image.open(EXAMPLE)).convert("RGB")
sides = [facts["resized_side"] * side // min(image.size) for side in image.size]
image = image.resize(sides, Image.Resampling[facts["interpolation"].upper()])
height, width = facts["size"]
left, top = round((image.width - width) / 2), round((image.height - height) / 2)
image = image.crop((left, top, left + width, top + height))
pixels = (np.asarray(image) / 255 - facts["mean"]) / facts["std"]
inputs = {"pixel_values": pixels.transpose(2, 0, 1)[None].astype("float32")}"""
_SCORES: dict[ProblemType, str] = {
    "single_label_classification": "scores = np.exp(logits - logits.max())\nscores /= scores.sum()",
    "multi_label_classification": "scores = 1 / (1 + np.exp(-logits))",
    "regression": "scores = logits",
}


def text_usage(problem_type: ProblemType, example: str) -> str:
    """Return how to run a model of texts without PyTorch, whose tokenizer is `tokenizer.json`.

    Args:
        problem_type: What it predicts.
        example: The text that it is to be tried on, in Python.
    """
    return _usage("tokenizers", "from tokenizers import Tokenizer", _TEXT, problem_type, example)


def word_usage(problem_type: ProblemType, example: str) -> str:
    """Return how to run a model of texts without PyTorch, whose tokenizer is a `WordTokenizer`.

    Args:
        problem_type: What it predicts.
        example: The text that it is to be tried on, in Python.
    """
    line = "from words import long_words  # it lies beside the model"
    return _usage("regex", line, _WORDS, problem_type, example)


def image_usage(problem_type: ProblemType, example: str) -> str:
    """Return how to run a model of images without PyTorch.

    Args:
        problem_type: What it predicts.
        example: The file of the image that it is to be tried on, in Python.
    """
    return _usage("pillow", "from PIL import Image, ImageOps", _IMAGE, problem_type, example)


def _usage(package: str, line: str, inputs: str, problem_type: ProblemType, example: str) -> str:
    inputs = inputs.replace("EXAMPLE", example)
    code = _CODE.format(line=line, inputs=inputs, scores=_SCORES[problem_type])
    return (
        "Without PyTorch, in the folder of the model, once `nlp-transfer export` has written "
        f"`model.onnx` there (`pip install onnxruntime {package}`):\n\n```python\n{code}\n```"
    )
