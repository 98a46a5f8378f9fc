"""The image of a service: what its Dockerfile says, since none is built here."""

import ast
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

from tests.fuzz.targets import PHOTO
from tests.nlp_transfer.outlook_files import outlook_message
from tests.transfer_app.service.servers import environment
from transfer_app.service.command import new_parser

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
REQUIRED = re.findall(r"^[\w-]+", (ROOT / "requirements-serve.txt").read_text(), re.MULTILINE)

# Runs where nothing can be imported but what the image has.
ASK = """
import sys
missing, *models = sys.argv[1:]

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing.split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from pathlib import Path
from fastapi.testclient import TestClient
import transfer_app.service.connections
from transfer_app.command_line import main
from transfer_app.service.app import service

with TestClient(service(models), "http://localhost") as client:
    for name in map(Path, models):
        files = [("f", file.open("rb")) for file in sorted(Path("sent").iterdir())]
        print(client.post(f"/models/{name.name}/predict", files=files).json()["answers"])
sys.exit(main(["serve", *models, "--rate", "0"]))
"""


def installed(names):
    """The distributions that pip installs for these."""
    found, pending = set(), list(names)
    while pending:
        name = re.sub(r"[-_.]+", "-", pending.pop()).lower()
        if name in found:
            continue
        found.add(name)
        try:
            needed = map(Requirement, requires(name) or [])
        except PackageNotFoundError:  # of another platform
            continue
        pending += [
            one.name for one in needed if not one.marker or one.marker.evaluate({"extra": ""})
        ]
    return found


def test_exported_models_are_served_by_what_the_image_has(models, tmp_path):
    has = installed([*REQUIRED, "httpx", "httpx2"])  # the last as the client
    missing = [
        module
        for module, owners in packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & {*has, "nlp-transfer"}
    ]
    assert {"torch", "transformers", "pandas", "datasets"} <= {*missing}
    folders = [str(models / name) for name in ("urgency", "pets")]
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "a.eml").write_text("Subject: a\n\nThe pump has stopped.")
    (tmp_path / "sent" / "b.msg").write_bytes(outlook_message("b", "The pump has stopped."))
    shutil.copy(PHOTO, tmp_path / "sent" / "c.jpg")
    command = [sys.executable, "-c", ASK, " ".join(missing), *folders]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=tmp_path)
    assert ran.returncode == 2, ran.stderr  # --rate is 0
    mails, photos = map(ast.literal_eval, ran.stdout.splitlines())
    assert ["label" in one for one in mails] == [True, True, False]
    assert ["label" in one for one in photos] == [False, False, True]
    assert [*photos[2]] == ["input", "label", "scores", "similarity", "accepted"]


def test_what_the_image_has_is_of_a_known_version():
    known = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert not {*REQUIRED} - {*known}


def test_it_runs_the_command_as_a_user_without_rights():
    (user,) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert "0" not in user
    (entry,) = re.findall(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.MULTILINE)
    program, command, *flags = json.loads(entry)
    assert (program, command) == ("nlp-transfer", "serve")
    assert new_parser().parse_args([*flags, "/models/a"]).host == "0.0.0.0"
    assert DOCKERFILE.index("USER") < DOCKERFILE.index("ENTRYPOINT")


def test_the_wheel_is_built_of_what_the_image_is_told():
    told = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert all((ROOT / name).exists() for name in told)
    assert {"setup.py", "setup.cfg", "pyproject.toml", "recipes", "transfer_app"} <= {*told}
