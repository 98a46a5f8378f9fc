"""Labelling as people do it: by keyboard, while the server is killed, on a phone, under attack."""

import re
import shutil

import pandas as pd
import pytest

expect = pytest.importorskip("playwright.sync_api").expect  # of the extra `browser`
pytestmark = pytest.mark.browser

from recipes.email_urgency import DATA as MAILS  # noqa: E402
from tests.browser.test_demo import ATTACK, PHONE, PHOTOS, PICTURES  # noqa: E402
from tests.transfer_app.label.pages import labelling  # noqa: E402

PORT = 7881
LONG = 60_000  # milliseconds
ARGUMENTS = ("mails.csv", "--output", "labels.csv", "--label-names", "asks", "tells")


@pytest.fixture
def mails(tmp_path):
    """Real mails in `mails.csv`; of each whether it asks for something."""
    mails = pd.read_parquet(MAILS / "messages.parquet").groupby("asks_for_action").head(120)
    mails[["text"]].to_csv(tmp_path / "mails.csv", index=False)
    return {f"mails.csv#{n}": asks for n, asks in enumerate(mails["asks_for_action"], start=1)}


@pytest.fixture
def visit(chromium):
    """Open a page; at the end nothing of others was asked for, and nothing opened a dialog."""
    contexts, asked, alarms = [], [], []

    def open_page(server, **options):
        context = chromium.new_context(**{"viewport": {"width": 1100, "height": 760}} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: (alarms.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: alarms.append(str(error)))
        page.goto(server.address)
        expect(page.locator("#name")).not_to_be_empty(timeout=LONG)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [url for url in asked if not re.match(r"http://127\.0\.0\.1:|data:,", url)]
    assert not alarms


def press(page, key):
    """Press a key, and wait for another example; return the one before."""
    before = page.locator("#name").inner_text()
    page.keyboard.press(key)
    expect(page.locator("#name")).not_to_have_text(before, timeout=LONG)
    return before


def test_fifty_answers_by_keyboard_while_the_server_is_killed(mails, visit, tmp_path):
    given = {}

    def answer(page):
        name = page.locator("#name").inner_text()
        given[name] = "asks" if mails[name] else "tells"
        press(page, "1" if mails[name] else "2")

    with labelling(*ARGUMENTS, folder=tmp_path, port=PORT) as server:
        page = visit(server)
        for _ in range(25):
            answer(page)
        server.process.kill()
        server.process.wait()
        name = page.locator("#name").inner_text()
        page.keyboard.press("1" if mails[name] else "2")  # nobody hears it
        given[name] = "asks" if mails[name] else "tells"
        expect(page.get_by_role("status")).to_contain_text("trying again", timeout=LONG)
    with labelling(*ARGUMENTS, folder=tmp_path, port=PORT) as server:
        expect(page.locator("#name")).not_to_have_text(name, timeout=LONG)
        for _ in range(24):
            answer(page)
        expect(page.locator("#count")).to_have_text("50 labelled of 240")
        last = [*given][-1]
        press(page, "u")
        expect(page.locator("#name")).to_have_text(last)
        expect(page.locator("#count")).to_have_text("49 labelled of 240")
        press(page, "1" if mails[last] else "2")
        page.keyboard.press("h")
        expect(page.locator("#hint")).to_be_visible(timeout=LONG)
        expect(page.locator("#reason")).to_contain_text("Most for it:")
        expect(page.locator("mark").first).to_be_visible()
        expect(page.locator("#curve circle").first).to_be_visible(timeout=LONG)
        expect(page.locator("#quality")).to_contain_text("95 % interval")
        page.mouse.move(0, 0)
        page.screenshot(path=PICTURES / "label.png")
        page.get_by_role("button", name="end labelling").click()
        expect(page.locator("#command")).to_have_text(re.compile("^nlp-transfer run text-class"))
        told, _ = server.process.communicate(timeout=60)
        assert told.startswith("labels.csv holds 50 labels.\nNext:")
    table = pd.read_csv(tmp_path / "labels.csv")
    assert dict(zip(table["input"], table["label"], strict=True)) == given
    assert len(given) == 50


def test_two_windows_skips_and_what_is_not_sure(mails, visit, tmp_path):
    with labelling(*ARGUMENTS, folder=tmp_path) as server:
        one, two = visit(server), visit(server)
        names = [page.locator("#name").inner_text() for page in (one, two)]
        assert names[0] != names[1]
        skipped, unsure = press(one, "s"), press(one, "n")
        assert skipped == names[0] and unsure not in names
        expect(one.locator("#counted")).to_contain_text("Asked and left without a label: 1")
        one.keyboard.press("x")  # is no key
        one.get_by_label("A new label").fill("u")
        one.keyboard.press("Enter")
        expect(one.locator("#example")).to_be_focused(timeout=LONG)
        press(one, "3")
        expect(one.locator("#counted")).to_contain_text("1 u")
        two.reload()
        expect(two.locator("#name")).to_have_text(names[1])
        expect(two.locator("#labels button")).to_have_count(3)
        two.keyboard.press("u")
        expect(two.get_by_role("status")).to_contain_text("no answer that could be taken back")


@pytest.mark.parametrize("kind", ["text", "photo"])
def test_a_script_is_text_wherever_it_stands(kind, visit, tmp_path):
    attack = "<img src=x onerror='window.attacked = true; alert(5)'>"
    if kind == "text":
        texts = pd.read_parquet(MAILS / "messages.parquet")["text"].head(12)
        pd.DataFrame({"subject": attack, "body": ATTACK + texts * 2}).to_csv(
            tmp_path / "data.csv", index=False
        )
        data = "data.csv"
    else:
        data = "photos"
        (tmp_path / data).mkdir()
        for number, file in enumerate(sorted(PHOTOS.glob("*.jpg"))[:12]):
            shutil.copy(file, tmp_path / data / f"{attack} {number}.jpg")
    arguments = (data, "--output", "labels.csv", "--label-names", attack, "other")
    base = ("--base", "none") if kind == "text" else ()
    with labelling(*arguments, *base, folder=tmp_path) as server:
        page = visit(server)
        for key in "1212":
            press(page, key)
        shown = "**/photos/*/hint" if kind == "photo" else "**/hints/*"
        with page.expect_response(shown, timeout=LONG) as answered:
            page.keyboard.press("h")
        assert answered.value.status == 200
        expect(page.locator("#hint")).to_be_visible(timeout=LONG)
        assert attack in page.locator("#scores").inner_text()
        if kind == "photo":
            expect(page.locator("#photo")).to_have_attribute("alt", re.compile("bright where"))
        page.wait_for_timeout(300)
        assert page.evaluate("window.attacked") is None
        assert page.locator("img[src='x']").count() == 0


@pytest.mark.parametrize(("look", "options"), [("phone", PHONE), ("dark", {})])
def test_it_fits_a_phone_and_the_dark(look, options, mails, visit, tmp_path):
    dark = {"color_scheme": "dark"} if look == "dark" else {}
    with labelling(*ARGUMENTS, "--base", "none", folder=tmp_path) as server:
        page = visit(server, **options, **dark)
        width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert width[0] <= width[1]
        expect(page.get_by_role("button", name="asks")).to_be_in_viewport()
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shade = sum(map(int, re.findall(r"\d+", background)))
        assert (shade < 200) == (look == "dark")
        page.screenshot(path=tmp_path / "look.png")
