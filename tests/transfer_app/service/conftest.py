"""Models to serve, exported and not, and services of them."""

import pytest

from tests.fuzz.model_folders import MODELS
from tests.small_models import NAMES, save_image_model, save_text_model
from tests.transfer_app.service.servers import serving
from transfer_app.command_line import main

TOKENS = ("a-token-of-a-client", "the_token~of+another/1==", "and-the-token-of-a-third")
ONE, SEVERAL, NUMBER = NAMES
EXPORTED = {
    "urgency": lambda folder: MODELS["encoder"](folder),
    "complaints": lambda folder: save_text_model(folder, SEVERAL),
    "minutes": lambda folder: save_text_model(folder, NUMBER),
    "pets": MODELS["classifier"],
}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """The folder of models of each kind; all but `plain`, `finder` and `teller` are exported."""
    root = tmp_path_factory.mktemp("models")
    for name, save in EXPORTED.items():
        save(root / name)
        assert main(["export", str(root / name)]) == 0
    (root / "urgency" / "README.md").write_text("# Urgent mail\n\nOf whom, and how good. \u00fc\n")
    save_text_model(root / "plain", ONE, positive_label="bill")
    MODELS["detector"](root / "finder")
    MODELS["captioner"](root / "teller")
    save_image_model(
        root / "ct", ONE, channels=1, ct={"size": 32, "spacing": 1.0, "window": "bone"}
    )
    assert main(["export", str(root / "ct")]) == 0
    return root


@pytest.fixture(scope="session")
def server(models, tmp_path_factory):
    """A service of models of all kinds."""
    folders = [models / name for name in (*EXPORTED, "plain", "finder", "teller")]
    with serving(tmp_path_factory.mktemp("service"), *folders) as server:
        yield server


@pytest.fixture(scope="session")
def guarded(models, tmp_path_factory):
    """A service with tokens on all addresses, which few requests may be made to."""
    folder, flags = tmp_path_factory.mktemp("guarded"), ("--host", "0.0.0.0", "--rate", "5")
    tokens = "  ".join([*TOKENS, "\n"])
    with serving(folder, models / "pets", flags=flags, NLP_TRANSFER_TOKEN=tokens) as server:
        yield server
