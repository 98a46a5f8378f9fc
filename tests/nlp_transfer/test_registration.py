"""The models are known to `transformers` whatever is imported first; mail needs no PyTorch."""

import subprocess
import sys

import pytest


def printed(code):
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


@pytest.mark.parametrize(
    "first",
    [
        "import nlp_transfer; from transformers import pipeline",
        "import nlp_transfer; from transformers import Trainer",
        "from nlp_transfer.models import ConvHeadForSequenceClassification",
        "from nlp_transfer.models import RecurrentForCausalLM",
        "from nlp_transfer.models import TfidfConfig",
    ],
)
def test_models_are_known_whatever_is_imported_first(first):
    code = (
        f"{first}; from transformers import AutoConfig; "
        "from transformers import AutoModelForSequenceClassification as Auto; "
        "names = ('recurrent', 'tfidf', 'conv_head', 'pooled_head'); "
        "configs = [AutoConfig.for_model(name) for name in names]; "
        "print(*(type(c) in Auto._model_mapping for c in configs))"
    )
    assert printed(code) == ["True"] * 4


def test_mail_is_read_without_pytorch():
    assert printed("import nlp_transfer.emails, sys; print('torch' in sys.modules)") == ["False"]
