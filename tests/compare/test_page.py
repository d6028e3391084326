"""The comparison page, in a real browser: dragging, switching, zoom, keyboard, and nothing leaves it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vidsr.compare.page import LOOPED, build, write
from vidsr.compare.picture import Picture, View

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
)
RED, GREEN, BLUE, WHITE = (200, 0, 0), (0, 160, 0), (0, 0, 210), (255, 255, 255)
HOSTILE = "</script><script>alert(1)</script><b>film</b>"


def flat(colour: tuple[int, int, int], size: tuple[int, int] = (320, 180)) -> np.ndarray:
    return np.full((size[1], size[0], 3), colour, np.uint8)


def example() -> str:
    figures = {"red": {"psnr": 30.0, "ssim": 0.9}, "green": {"psnr": float("inf"), "ssim": 1.0}}
    figures["green"]["unsteadiness"] = 1.25
    first = [Picture("red", flat(RED)), Picture("green", flat(GREEN)), Picture("blue", flat(BLUE), "a note")]
    second = [Picture("white", flat(WHITE)), Picture("red", flat(RED)), Picture("blue", flat(BLUE))]
    third = [Picture("red", flat(RED), beside=flat(BLUE)), Picture("green", flat(GREEN), beside=flat(WHITE))]
    views = [
        View("0:00:01.0", 1.0, tuple(first), figures),
        View("0:00:02.0", 2.0, tuple(second)),
        View("0:00:03.0", 3.0, tuple(third)),
    ]
    return build(HOSTILE, views, table=figures)


def test_the_page_holds_everything_and_names_no_other_place() -> None:
    html = example()
    assert html.count("data:image/webp;base64,") == 10
    assert HOSTILE not in html
    assert all(f"{scheme}://" not in html for scheme in ("http", "https", "file"))
    assert "default-src 'none'" in html


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not (BROWSER and DRIVER):
        pytest.skip("needs Chromium and its driver (Debian: apt install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = BROWSER
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        yield driver
        driver.quit()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    path = write(tmp_path / "page.html", example())
    browser.set_window_size(1000, 800)
    browser.get_log("performance")
    browser.get(path.as_uri())
    yield browser
    assert [line["message"] for line in browser.get_log("browser")] == []  # no error, no blocked request
    assert requests(browser) <= {path.as_uri()}


def requests(browser: Any) -> set[str]:
    """Addresses that the page asked for, besides data inside it."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return {url for url in sent if not url.startswith(("data:", "chrome"))}


def colour_at(browser: Any, x: float, y: float = 0.5) -> tuple[int, ...]:
    """The colour shown at a share of the frame's width and height."""
    box = browser.execute_script("return document.getElementById('scroll').getBoundingClientRect().toJSON()")
    image = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    shown = image.getpixel((box["left"] + x * box["width"], box["top"] + y * box["height"]))
    assert isinstance(shown, tuple)
    return shown


def near(colour: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return all(abs(a - b) <= 6 for a, b in zip(colour, expected, strict=True))


def press(browser: Any, keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(keys).perform()


def choose(browser: Any, select: str, label: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", select)).select_by_visible_text(label)


def test_left_and_right_of_the_divider_differ(page: Any) -> None:
    assert near(colour_at(page, 0.3), RED)
    assert near(colour_at(page, 0.7), GREEN)


def test_dragging_the_divider_changes_what_is_shown(page: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    width = page.execute_script("return document.getElementById('scroll').clientWidth")
    divider = page.find_element("id", "divider")
    ActionChains(page).drag_and_drop_by_offset(divider, round(0.2 * width), 0).perform()
    assert near(colour_at(page, 0.65), RED)
    assert near(colour_at(page, 0.8), GREEN)
    assert divider.get_attribute("aria-valuenow") == "70"


def test_the_switches_switch_pictures_and_moments(page: Any) -> None:
    choose(page, "right", "blue")
    assert near(colour_at(page, 0.7), BLUE)
    assert "a note" in page.find_element("id", "tag-right").text
    page.find_elements("css selector", "#moments button")[1].click()
    assert near(colour_at(page, 0.3), WHITE)
    assert near(colour_at(page, 0.7), BLUE)
    choose(page, "left", "red")
    assert near(colour_at(page, 0.3), RED)


def test_every_key_does_what_the_page_says(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    press(page, "3")
    assert near(colour_at(page, 0.7), BLUE)
    press(page, "x")
    assert near(colour_at(page, 0.3), BLUE)
    assert near(colour_at(page, 0.7), RED)
    press(page, ".")
    assert near(colour_at(page, 0.7), WHITE)
    press(page, ",")
    press(page, Keys.HOME)
    assert near(colour_at(page, 0.3), RED)
    press(page, Keys.ARROW_RIGHT * 10)
    assert page.find_element("id", "divider").get_attribute("aria-valuenow") == "20"
    press(page, Keys.END)
    assert near(colour_at(page, 0.7), BLUE)


def test_zoom_shows_source_pixels_and_the_divider_stays_in_sight(page: Any) -> None:
    press(page, "+++")
    width = page.execute_script("return document.getElementById('stage').getBoundingClientRect().width")
    assert width == 4 * 320
    page.execute_script("document.getElementById('scroll').scrollLeft = 200")
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert near(colour_at(page, 0.3), RED)
    assert near(colour_at(page, 0.7), GREEN)
    press(page, "---")
    assert page.find_element("css selector", "#zooms button").get_attribute("aria-pressed") == "true"


def test_zooming_keeps_the_middle_and_dragging_the_picture_moves_it(page: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    middle = "const s = document.getElementById('scroll'); return (s.scrollLeft + s.clientWidth / 2) / s.scrollWidth"
    pixelated = "return document.getElementById('stage').classList.contains('pixels')"
    assert not page.execute_script(pixelated)  # fitted pictures are smooth: their pixels would differ in size
    press(page, "+++")
    assert page.execute_script(pixelated)
    assert page.execute_script(middle) == pytest.approx(0.5, abs=0.01)
    before = page.execute_script("return document.getElementById('scroll').scrollLeft")
    image, at = page.find_element("id", "scroll"), page.find_element("id", "divider").get_attribute("aria-valuenow")
    ActionChains(page).move_to_element_with_offset(image, -200, 60).click_and_hold().move_by_offset(
        -90, 0
    ).release().perform()
    assert page.execute_script("return document.getElementById('scroll').scrollLeft") == before + 90
    assert page.find_element("id", "divider").get_attribute("aria-valuenow") == at  # a drag is no click
    ActionChains(page).move_to_element_with_offset(image, -200, 60).click().perform()
    assert page.find_element("id", "divider").get_attribute("aria-valuenow") != at
    press(page, "a")
    assert page.execute_script("return document.getElementById('scroll').scrollLeft") == before + 10


COLOURS = """
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor;
            if (colour !== 'rgba(0, 0, 0, 0)') return colour;
        }
    };
    const texts = 'h1, legend, label span, button, select, .tag, th, td, kbd, .keys span';
    return [...document.querySelectorAll(texts)].map(
        (e) => [e.textContent.slice(0, 20), getComputedStyle(e).color, behind(e)]);
"""


def contrasts(browser: Any) -> dict[str, float]:
    """WCAG contrast of each text with what it stands on."""

    def luminance(text: str) -> float:
        values = [float(value) / 255 for value in re.findall(r"[0-9.]+", text)[:3]]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    made = {}
    for name, ink, paper in browser.execute_script(COLOURS):
        dark, light = sorted((luminance(ink), luminance(paper)))
        made[name] = (light + 0.05) / (dark + 0.05)
    return made


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast_in_a_light_and_in_a_dark_scheme(page: Any, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        assert len(found := contrasts(page)) > 12
        assert min(found.values()) >= 4.5, found
        paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(244, 244, 242)") == (scheme == "light")
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_of_pictures_too_large_for_a_page_it_holds_the_part_with_most_detail() -> None:
    wide = np.zeros((40, 16400, 3), np.uint8)  # no WebP is as wide
    wide[:, 9000:9100] = np.random.default_rng(0).integers(0, 256, (40, 100, 3), np.uint8)
    html = build("wide", [View("image", None, (Picture("a", wide), Picture("b", wide)))])
    (part,) = re.findall(r'"part": "3840x40 of 16400x40 at (\d+),0"', html)
    assert 9100 - 3840 <= int(part) <= 9000
    source = base64.b64decode(re.findall(r"data:image/webp;base64,([^\"]+)", html)[0])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(source))), wide[:, int(part) : int(part) + 3840])


@pytest.mark.parametrize("width", [400, 1600])
def test_it_fits_narrow_and_wide_windows(page: Any, width: int) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        assert page.execute_script("return window.innerWidth") == width
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        press(page, "..")  # where all buttons are
        for element in page.find_elements("css selector", "button, select, .divider"):
            assert element.rect["height"] >= 30
            assert element.rect["x"] >= 0
        assert near(colour_at(page, 0.7), GREEN)
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_everything_can_be_named_and_reached_without_a_mouse(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    named = page.execute_script(
        "return [...document.querySelectorAll('button, select, [role=slider]')].map("
        "e => e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels[0].textContent))"
    )
    assert all(named)
    assert all(image.get_attribute("alt") for image in page.find_elements("css selector", "img"))
    seen = set()
    for _ in range(14):
        press(page, Keys.TAB)
        seen.add(page.execute_script("return document.activeElement.id || document.activeElement.textContent"))
    assert {"left", "right", "divider", "0:00:02.0", "4:1"} <= seen
    unheard = "[aria-label]:not([role]), td:first-child, th:not([scope])"  # a label of no role, a line without its name
    assert page.find_elements("css selector", unheard) == []
    page.execute_script("document.getElementById('divider').focus()")
    press(page, Keys.HOME + Keys.ARROW_UP * 2 + Keys.ARROW_DOWN)
    assert page.find_element("id", "divider").get_attribute("aria-valuenow") == "2"


def test_long_names_do_not_make_it_wider_than_the_window(browser: Any, tmp_path: Path) -> None:
    first, second = "a" * 200 + ".mp4", "b" * 200 + ".mp4"
    figures = {f"{first} to {second}": {"psnr": 30.0, "ssim": 0.9, "xpsnr": 31.0}}
    view = View("0:00:01.0", 1.0, (Picture(first, flat(RED)), Picture(second, flat(GREEN))))
    metrics = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.get(write(tmp_path / "page.html", build("long", [view], table=figures)).as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_means_stand_below_and_infinity_is_said_as_equal(page: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    rows = [row.text for row in page.find_elements("css selector", "#table tr")]
    assert rows == [
        "mean of all frames PSNR SSIM unsteadiness",
        "red 30.00 dB 0.9000 -",
        "green equal 1.0000 1.25 of 255",
    ]
    tip = page.find_element("css selector", "[role=tooltip]")
    assert not tip.is_displayed()
    ActionChains(page).move_to_element(page.find_element("css selector", ".hint")).perform()
    assert "Lower is steadier" in tip.text
    box = tip.rect
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= page.execute_script("return window.innerWidth")


def test_two_frames_are_played_in_turn_where_there_are_two(page: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    second = "return document.getElementById('stage').classList.contains('second')"
    play = page.find_element("id", "play")
    assert not play.is_displayed()
    press(page, "p")  # nothing to play, and no error
    press(page, "..")
    assert near(colour_at(page, 0.3), RED)
    assert near(colour_at(page, 0.7), GREEN)
    assert play.get_attribute("aria-pressed") == "false"  # nothing moves by itself
    press(page, "p")
    assert play.get_attribute("aria-pressed") == "true"
    page.execute_script("clearInterval(turning)")  # by hand: what is shown, not when
    for shown in (True, False):
        if page.execute_script(second) != shown:
            page.execute_script("document.getElementById('stage').classList.toggle('second')")
        assert near(colour_at(page, 0.3), BLUE if shown else RED)
        assert near(colour_at(page, 0.7), WHITE if shown else GREEN)
    play.click()
    assert not page.execute_script(second)
    play.click()
    WebDriverWait(page, 5, 0.05).until(lambda _: page.execute_script(second))
    press(page, ",")
    assert not page.execute_script(second)  # the moment before has one frame


def test_of_the_frame_beside_a_large_picture_the_page_holds_the_part_with_most_detail() -> None:
    large = np.zeros((1000, 2000, 3), np.uint8)
    large[800:900, 1500:1600] = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    html = build("large", [View("0", 0.0, (Picture("a", large, beside=large[::-1]),))])
    (found,) = re.findall(r'"loop": ({[^}]*})', html)
    box = json.loads(found)
    assert (box["right"] - box["left"], box["bottom"] - box["top"]) == LOOPED
    assert box["left"] <= 1500
    assert box["right"] >= 1600
    beside = base64.b64decode(re.findall(r"data:image/webp;base64,([^\"]+)", html)[1])
    part = large[::-1][box["top"] : box["bottom"], box["left"] : box["right"]]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(beside))), part)


def test_a_hostile_title_is_only_text(page: Any) -> None:
    assert page.find_element("id", "title").text == HOSTILE
