"""The models are known to `transformers` whatever is imported first; mail needs no PyTorch."""

import subprocess
import sys

import pytest

from tests.forks import Forks

LIBRARIES = "import accelerate, datasets, sklearn.metrics, torchvision"


@pytest.fixture(scope="module")
def with_torch(tmp_path_factory):
    """A process that forks once it has imported what `transformers` needs."""
    folder = tmp_path_factory.mktemp("forks")
    forks = Forks(sys.executable, folder, {"HF_HOME": str(folder)}, LIBRARIES)
    yield forks
    forks.close()


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
def test_models_are_known_whatever_is_imported_first(first, with_torch, tmp_path):
    code = (
        "import sys; assert not {'transformers', 'nlp_transfer'} & sys.modules.keys(); "
        f"{first}; from transformers import AutoConfig; "
        "from transformers import AutoModelForSequenceClassification as Auto; "
        "names = ('recurrent', 'tfidf', 'conv_head', 'pooled_head'); "
        "configs = [AutoConfig.for_model(name) for name in names]; "
        "print(*(type(c) in Auto._model_mapping for c in configs))"
    )
    with_torch.begin(code, tmp_path, with_project=True)
    ran = with_torch.wait()
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["True"] * 4


def test_mail_is_read_without_pytorch():
    code = "import nlp_transfer.emails, sys; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
