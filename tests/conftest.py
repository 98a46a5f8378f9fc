"""A Hub on loopback, and a Python that lacks this project."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from huggingface_hub import constants

from staged_training.reporting import hub as hub_module
from tests.hub_server.server import TOKEN, serving


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub that this process is logged in to; what it downloads goes to a folder of its own."""
    with serving() as hub:
        pattern = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", pattern)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # it keeps an address
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(hub_module, "_WAITS", (0, 1))
        yield hub


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory):
    """The Python of a virtual environment with all that this project needs, and without it."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder)
    python = folder / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout
    # A path in a .pth file is not searched for further .pth files, such as that of this project.
    libraries = sysconfig.get_path("purelib")
    (Path(own.strip()) / "libraries.pth").write_text(f"{libraries}\n")
    return python


@pytest.fixture
def elsewhere(hub, bare_python, tmp_path):
    """Run Python code in a process that knows the Hub; without this project unless asked for."""

    def run(code, *, with_project=False, **options):
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": TOKEN,
        }
        python = sys.executable if with_project else bare_python
        return subprocess.run(
            [python, "-c", code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            **options,
        )

    return run
