"""A Hub on loopback, and a Python that lacks this project.

Libraries are imported where they are needed: before the workers begin, pytest imports this, too.
"""

import gc
import os
import signal
import subprocess
import sysconfig
import time
import venv
from pathlib import Path

import pytest
from huggingface_hub import constants
from hypothesis import settings

from tests.forks import Forks
from tests.hub_server.server import TOKEN, serving

settings.register_profile("unhurried", deadline=None)  # a machine that does other work is slow
settings.load_profile("unhurried")


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        choices=["cpu", "accelerator"],
        default="cpu",
        help="where tests marked `device` train",
    )


@pytest.fixture(autouse=True, scope="session")
def _accelerators_compute_the_same_each_time(pytestconfig):
    if pytestconfig.getoption("device") == "accelerator":
        import torch

        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.allow_tf32 = False  # else convolutions are rounded to 10 bits


@pytest.fixture(autouse=True, scope="module")
def _libraries_are_not_searched_for_garbage():
    """Freeze what is there: the end of each stage of training collects garbage in all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def one_process():
    """Run independent pieces of work here, with the one thread that each of several processes has.

    A process takes five seconds to import the libraries.
    """
    import torch

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOKY_MAX_CPU_COUNT", "1")
        yield


@pytest.fixture(scope="session")
def _hub():
    with serving() as hub:
        yield hub


@pytest.fixture
def hub(_hub, monkeypatch, tmp_path):
    """A Hub that this process is logged in to; what it downloads goes to a folder of its own."""
    _hub.clear()
    pattern = f"{_hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", _hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", pattern)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # it keeps an address
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("staged_training.reporting.hub._WAITS", (0, 1))
    return _hub


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


@pytest.fixture(scope="session")
def _forks(_hub, bare_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forks")
    environment = {
        **{name: os.environ[name] for name in os.environ.keys() - {"PYTHONPATH"}},
        "HF_ENDPOINT": _hub.url,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
        "LOKY_MAX_CPU_COUNT": "1",  # see `one_process`
    }
    forks = Forks(bare_python, folder, environment)
    yield forks
    forks.close()


@pytest.fixture
def forks(_forks, tmp_path):
    """The process that forks; what its forks get from a Hub goes to a folder of the test."""
    (tmp_path / "home").mkdir()
    _forks.home.unlink(missing_ok=True)
    _forks.home.symlink_to(tmp_path / "home")
    return _forks


@pytest.fixture
def elsewhere(hub, forks, tmp_path):
    """Run Python code in a process that knows the Hub; without this project unless asked for."""

    def run(code, *, with_project=False):
        forks.begin(code, tmp_path, with_project=with_project)
        return forks.wait()

    return run


@pytest.fixture
def run_killed(forks):
    """Run a command until files that fit a pattern are in its folder, and kill it then."""

    def run(arguments, folder, pattern):
        code = f"from transfer_app.command_line import main\nmain({arguments})"
        forks.begin(code, Path.cwd(), with_project=True)
        while not list(folder.glob(pattern)):
            assert forks.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
        assert forks.kill().returncode == -signal.SIGKILL

    return run
