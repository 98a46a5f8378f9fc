"""The demo as people use it: by mouse, by keyboard, on a phone, in the dark, and under attack."""

import re
from pathlib import Path

import pytest

expect = pytest.importorskip("playwright.sync_api").expect  # of the extra `browser`
pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs"
PHOTOS = ROOT / "recipes" / "data" / "pets" / "images"
PHONE = {"viewport": {"width": 360, "height": 780}, "device_scale_factor": 2}
LONG = 60_000  # milliseconds
WORDS = re.compile(r"Most for it: .+\nMost against it: .+")

ATTACK = (
    "<script>window.attacked = true; alert(1)</script>"
    "<img src=x onerror='window.attacked = true; alert(2)'> Call me before noon!"
)
MAIL = f"""\
From: a@example.org
Subject: {ATTACK}
MIME-Version: 1.0
Content-Type: text/html; charset=utf-8

<p>Please call <b>now</b>.</p>{ATTACK}<a href="javascript:alert(3)">see</a>
"""


def inbox(page):
    return page.locator(".inbox label")


def try_samples(page):
    page.get_by_role("button", name="Try sample").click()


def assert_harmless(page):
    """Nothing of the attack ran or became part of the page."""
    assert page.evaluate("window.attacked") is None
    assert (
        page.locator("img[src='x'], script:has-text('attacked'), a[href^=javascript]").count() == 0
    )


def test_sample_mails_are_ranked_with_the_words_that_mattered(visit):
    page = visit("mail")
    try_samples(page)
    expect(inbox(page)).to_have_count(4, timeout=LONG)
    listed = inbox(page).all_inner_texts()
    urgency = [
        float(score) if label == "urgent:" else 1 - float(score)
        for score, label, *_ in map(str.split, listed)
    ]
    assert urgency == sorted(urgency, reverse=True)
    assert "Server room" in listed[0] or "Contract" in listed[0]
    summary = page.get_by_label("In words")
    expect(summary).to_have_value(WORDS, timeout=LONG)
    expect(page.get_by_text("What spoke for urgent")).to_be_visible()
    page.screenshot(path=PICTURES / "demo_mail.png", full_page=True)

    before = summary.input_value()
    inbox(page).nth(3).click()
    expect(summary).not_to_have_value(before, timeout=LONG)
    assert "Most for it" in summary.input_value()


def test_mails_are_ranked_by_keyboard_alone(visit):
    page = visit("mail")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "TEXTAREA":
            break
    page.keyboard.type("The site is down and customers are waiting. Call me at once!")
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Rank":
            break
    page.keyboard.press("Enter")
    expect(inbox(page)).to_have_count(1, timeout=LONG)
    expect(page.get_by_label("In words")).to_have_value(WORDS, timeout=LONG)


def test_a_mailbox_and_broken_files_are_told_apart(visit, tmp_path):
    box = tmp_path / "box.mbox"
    message = "From a@b Mon Jun  3 10:15:00 2024\nSubject: Number {}\n\nPlease answer {}.\n\n"
    box.write_text("".join(message.format(n, n) for n in range(205)))
    (tmp_path / "empty.eml").write_text("")
    page = visit("mail")
    page.locator("input[type=file]").set_input_files([tmp_path / "empty.eml", box])
    expect(page.get_by_role("cell", name="box.mbox")).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Rank").click()
    expect(inbox(page)).to_have_count(200, timeout=LONG)
    notes = page.get_by_label("What was read").input_value()
    assert "200 ranked" in notes
    assert "Left out: empty.eml" in notes
    assert "Only the first 200 mails" in notes


@pytest.mark.parametrize("way", ["pasted", "dropped"])
def test_a_script_in_a_mail_is_text(way, visit, tmp_path):
    page = visit("mail")
    if way == "pasted":
        page.get_by_label("A mail").fill(ATTACK)
    else:
        file = tmp_path / "<img src=x onerror=alert(4)>.eml"
        file.write_text(MAIL)
        page.locator("input[type=file]").set_input_files(file)
        expect(page.get_by_text(".eml").last).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Rank").click()
    expect(page.get_by_label("In words")).to_have_value(WORDS, timeout=LONG)
    assert "<script>" in inbox(page).inner_text()
    page.wait_for_timeout(500)
    assert_harmless(page)


def test_sample_photos_are_labelled_with_where_the_model_looked(visit):
    page = visit("photos")
    try_samples(page)
    pictures = page.locator(".photos img")
    expect(pictures).to_have_count(4, timeout=LONG)
    seen = page.get_by_label("What was seen").input_value().splitlines()
    assert [line.split()[1] for line in seen] == ["cat", "dog", "cat", "dog"]
    page.wait_for_timeout(500)
    page.screenshot(path=PICTURES / "demo_photos.jpg", full_page=True, quality=85)
    page.locator(".photos .thumbnail-item").nth(1).click()
    expect(page.get_by_text("Scores of beagle_117.jpg")).to_be_visible(timeout=LONG)


def test_what_is_no_photo_or_shows_no_pet_is_told(visit, tmp_path):
    from PIL import Image

    (tmp_path / "broken.jpg").write_text("no photo")
    Image.effect_noise((300, 200), 90).convert("RGB").save(tmp_path / "noise.png")
    page = visit("photos")
    files = [tmp_path / "broken.jpg", tmp_path / "noise.png", PHOTOS / "pug_142.jpg"]
    page.locator("input[type=file]").set_input_files(files)
    expect(page.get_by_text("pug_142").first).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Look").click()
    expect(page.locator(".photos img")).to_have_count(2, timeout=LONG)
    seen = page.get_by_label("What was seen").input_value()
    assert "noise.png: not sure: please look (similarity to" in seen
    assert "pug_142.jpg: dog" in seen
    assert "Left out: broken.jpg" in seen


def test_a_photo_whose_name_is_a_script_is_labelled_and_its_name_is_text(visit, tmp_path):
    file = tmp_path / "<img src=x onerror='window.attacked = true; alert(5)'>.jpg"
    file.write_bytes((PHOTOS / "pug_142.jpg").read_bytes())
    page = visit("photos")
    page.locator("input[type=file]").set_input_files(file)
    expect(page.get_by_text(".jpg").last).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Look").click()
    expect(page.locator(".photos img")).to_have_count(1, timeout=LONG)
    assert ": dog (" in page.get_by_label("What was seen").input_value()
    page.locator(".photos .thumbnail-item").click()
    expect(page.get_by_text("Scores of")).to_be_visible(timeout=LONG)
    assert_harmless(page)


@pytest.mark.parametrize("name", ["mail", "photos"])
@pytest.mark.parametrize(("look", "options"), [("phone", PHONE), ("dark", {})])
def test_it_fits_a_phone_and_the_dark(name, look, options, visit):
    dark = {"color_scheme": "dark"} if look == "dark" else {}
    page = visit(name, **options, **dark)
    try_samples(page)
    shown = ".inbox label" if name == "mail" else ".photos img"
    expect(page.locator(shown)).to_have_count(4, timeout=LONG)
    page.wait_for_timeout(1000)
    width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    shade = sum(map(int, background.removeprefix("rgb(").rstrip(")").split(",")[:3]))
    assert (shade < 200) == (look == "dark")
