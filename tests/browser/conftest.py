"""The real demo of models that were trained here, in a headless Chromium."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from transfer_app.command_line import main

MODELS = {
    "mail": ["email-urgency", "--base", "bert"],
    "photos": ["pet-classifier", "--folds", "0"],
}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """The folders of a model of mail and of one of photos."""
    folder = tmp_path_factory.mktemp("models")
    for name, flags in MODELS.items():
        assert main(["run", *flags, "--output-dir", str(folder / name)]) == 0
    return folder


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium, that of the system."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    assert program, "There is no chromium: make test-browser INSTALL_CHROMIUM=1 installs it."
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def demos(models):
    """The addresses of the demos of both models."""
    command = [sys.executable, "-m", "transfer_app.command_line", "demo"]
    processes, addresses = [], {}
    try:
        for port, name in enumerate(MODELS, start=7871):
            process = subprocess.Popen(
                [*command, str(models / name), "--port", str(port)],
                stdout=subprocess.PIPE,
                text=True,
            )
            processes.append(process)
            addresses[name] = re.search(r"http://\S+", process.stdout.readline())[0]
        yield addresses
    finally:
        for process in processes:
            process.terminate()
            process.wait(10)


@pytest.fixture
def visit(chromium, demos):
    """Open a page; at the end, no other host was asked, nothing was refused or opened a dialog."""
    contexts, asked, refused, alarms = [], [], [], []

    def answered(response):
        if response.status >= 400:
            refused.append((response.status, response.url))

    def open_page(name, **options):
        context = chromium.new_context(**{"viewport": {"width": 1100, "height": 900}} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("response", answered)
        page.on("dialog", lambda dialog: (alarms.append(dialog.message), dialog.dismiss()))
        page.goto(demos[name])
        page.get_by_role("heading").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    foreign = [url for url in asked if not re.match(r"(http|ws)://127\.0\.0\.1:|data:|blob:", url)]
    assert not foreign
    assert not refused
    assert not alarms
