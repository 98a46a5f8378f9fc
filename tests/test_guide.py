"""The guide does what it says: every page's code runs, from top to bottom, in a folder of its own.

The `python` blocks of a page share their names; the lines of its `bash` blocks that begin with
`nlp-transfer` are commands. What else is shown, such as output, or commands for many machines, is
in blocks of no language. A page finds what its reader brings along: `my_mail.csv` (columns
`subject`, `body`, `priority`), `inbox.mbox`, `Maildir/`, `photos/` (a folder for each label),
`film.mp4` (a cat before a camera), `mails/` (tables of `text` and `labels`), a Hub on which the
reader is called `someone`, and a small encoder lies; where Dovecot is installed, a mail server, on
which the reader is called `ann`.

Here the data and the encoder are small, and recipes run with `--quick`, all in one process; `-m
slow` runs the pages as they stand, on all of the shipped data, those too that take minutes however
small the data are.
"""

import mailbox
import shlex
from email.message import EmailMessage
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from nlp_transfer.encoder_classifier import packaged_encoder
from recipes.email_urgency import DATA as MAILS
from recipes.pet_classifier import DATA as PETS
from tests.fuzz.targets import MAILS as RAW_MAIL
from tests.hub_server.repository import File, Repository
from tests.small_data import small_messages, small_photos
from tests.small_models import save_encoder
from tests.transfer_app.camera import scenes
from tests.transfer_app.inbox import dovecot
from transfer_app.command_line import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page):
    """The language, the content and the first line of each block of code that is to run."""
    for token in MarkdownIt().parse(page.read_text()):
        if token.type == "fence" and token.info in ("bash", "python"):
            yield token.info, token.content, token.map[0] + 1


def commands(content):
    """The arguments of each `nlp-transfer` command of a block."""
    for line in content.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["nlp-transfer"]:
            yield words[1:]


WITH_CODE = [
    page
    for page in PAGES
    if any(language == "python" or any(commands(content)) for language, content, _ in blocks(page))
]
INBOX = "imaps://ann@imap.example.org"
TAKE_MINUTES = {"boxes_and_captions", "without_labels"}


@pytest.fixture
def inbox(request, monkeypatch, tmp_path):
    """The address of a server with mail of `ann`, if a page speaks of it and there is Dovecot."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    is_asked_for = INBOX in request.node.callspec.params["page"].read_text()
    if not is_asked_for or not dovecot.is_installed():
        yield None
        return
    server = dovecot.Dovecot()
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    monkeypatch.setenv("NLP_TRANSFER_PASSWORD", dovecot.PASSWORD)
    server.deliver("ann", *(file.read_bytes() for file in RAW_MAIL.glob("*.eml")))
    yield server.url("ann", "").rstrip("/")
    server.close()


def run(page, *, quick, inbox):
    names = {"__name__": page.stem}
    left_out = False
    for language, content, line in blocks(page):
        if language == "python":
            exec(compile("\n" * line + content, page, "exec"), names)
        for arguments in commands(content) if language == "bash" else ():
            quick_flag = ["--quick"] if quick and arguments[0] == "run" else []
            if INBOX in "".join(arguments) and not inbox:
                left_out = True
                continue
            words = [word.replace(INBOX, str(inbox)) for word in arguments + quick_flag]
            assert main(words) == 0, f"{page}, line {line}: {arguments}"
    if left_out:
        pytest.skip("mail on a server was left out: there is no Dovecot; all else ran")


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    animals = [scenes.Animal(scenes.CAT, 3, 9)]
    return scenes.write(tmp_path_factory.mktemp("film") / "film.mp4", scenes.film(animals, 12))


def bring(messages, photos, film):
    """What a reader brings along, in the working directory."""
    Path("film.mp4").symlink_to(film)
    urgent = messages["label"].eq("urgent")
    mail = pd.DataFrame({"subject": "", "body": messages["text"]})
    mail.assign(priority=np.where(urgent, "high", "normal")).to_csv("my_mail.csv", index=False)
    box, folder = mailbox.mbox("inbox.mbox"), mailbox.Maildir("Maildir")
    for number, text in enumerate(messages["text"].head(20)):
        message = EmailMessage()
        message["From"], message["Subject"] = "someone@example.org", f"Message {number}"
        message.set_content(text)
        box.add(message)
        folder.add(message)
    box.close()
    Path("mails").mkdir()
    for number in range(2):
        rows = messages[["text"]].assign(labels=urgent.astype(int)).iloc[number::2]
        rows.to_parquet(f"mails/{number}.parquet")
    for species, file in zip(photos["species"], photos["file_name"], strict=True):
        link = Path("photos", species, Path(file).name)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(PETS / file)
    Path("photo.jpg").symlink_to(PETS / photos["file_name"].iloc[0])


def ship(messages, recipes):
    """Put messages, and a part of the related ones, where recipes find what is shipped."""
    data = recipes / "data" / "email_urgency"
    data.mkdir(parents=True)
    messages.to_parquet(data / "messages.parquet")
    related = pd.read_parquet(MAILS / "proxy.parquet").groupby("asks_for_action").head(50)
    related.to_parquet(data / "proxy.parquet")


def put_encoder(hub, folder):
    """Put the files of an encoder on the Hub, under the name of the one that a package ships."""
    name = "sentence-transformers/all-MiniLM-L6-v2"
    repository = hub.repositories[name] = Repository(name, private=False)
    files = {}
    for path in filter(Path.is_file, folder.iterdir()):
        content = path.read_bytes()
        is_large = repository.upload_mode(path.name, len(content)) == "lfs"
        files[path.name] = File(content, sha256(content).hexdigest() if is_large else "")
        if is_large:
            repository.put_object(files[path.name].sha256, content)
    repository._add_commit("main", files, "Add the encoder")


@pytest.mark.parametrize(
    "page",
    [page for page in WITH_CODE if page.stem not in TAKE_MINUTES],
    ids=lambda page: page.stem,
)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch, hub, film, inbox, one_process):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    mails = small_messages().groupby(["fold", "label"]).head(20)
    ship(mails, tmp_path / "recipes")
    monkeypatch.setattr("staged_training.recipe.RECIPES", tmp_path / "recipes")
    photos = small_photos(tmp_path / "small").groupby(["fold", "species"]).head(4)
    bring(mails, photos, film)
    encoder = save_encoder(tmp_path / "encoder")
    put_encoder(hub, encoder)
    monkeypatch.setattr("nlp_transfer.encoder_classifier.packaged_encoder", lambda _: encoder)
    run(page, quick=True, inbox=inbox)


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_as_it_stands(page, tmp_path, monkeypatch, hub, film, inbox):
    monkeypatch.chdir(tmp_path)
    photos = pd.read_json(PETS / "metadata.jsonl", lines=True)
    bring(pd.read_parquet(MAILS / "messages.parquet"), photos, film)
    put_encoder(hub, packaged_encoder("bert"))
    run(page, quick=False, inbox=inbox)


def links(page):
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(page.read_text()):
        for child in token.children or []:
            target = child.attrs.get("href") or child.attrs.get("src") or ""
            if target and "://" not in target:
                yield target.partition("#")[0]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_what_a_page_links_to_is_there(page):
    assert not [target for target in links(page) if not (page.parent / target).exists()]


def test_pages_that_are_said_to_take_minutes_are_there():
    assert {page.stem for page in WITH_CODE} >= TAKE_MINUTES
