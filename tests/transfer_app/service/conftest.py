"""Models to serve, exported and not, and services of them."""

import pytest

from tests.fuzz.model_folders import MODELS
from tests.small_models import NAMES, save_image_model, save_text_model
from tests.transfer_app.service.servers import serving
from transfer_app.command_line import main

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
        root / "ct", ONE, channels=1, ct={"size": [32, 32], "spacing": 1.0, "window": "bone"}
    )
    return root


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    """A service of all exported models."""
    folders = [models / name for name in EXPORTED]
    with serving(tmp_path_factory.mktemp("service"), *folders) as server:
        yield server
