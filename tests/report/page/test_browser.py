"""report.html in a browser: what its controls do, and that it asks for nothing.

By Playwright and a Chromium that is installed; without one these tests are skipped.
"""

import os
import re
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from pages import ARABIC, HOSTILE, make_film, make_page

from cxr_jax import plots
from cxr_jax.report.page.render import save_page

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

pytestmark = pytest.mark.slow
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
STEPS, SIDE = 6, 16
LAST = str(STEPS)


def find_chromium() -> str | None:
    """The one that CHROMIUM names, or the first that is found."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    found = find_chromium()
    if found is None:
        pytest.skip(f"no Chromium: none of {', '.join(NAMES)} is on the path, nor is CHROMIUM set")
    with playwright.sync_playwright() as runner:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]  # for containers
        running = runner.chromium.launch(executable_path=found, args=arguments)
        yield running
        running.close()


@pytest.fixture(scope="module")
def films() -> list:
    return [
        make_film(0, name=HOSTILE, side=SIDE, steps=STEPS),
        make_film(1, name=ARABIC, side=SIDE, steps=STEPS, towards=1, reason="too dark"),
    ]


@pytest.fixture(scope="module")
def address(films, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    save_page(path, make_page(*films), plots.PLAIN)
    return path.as_uri()


class Visit:
    """The page, opened.

    Attributes:
      asked: requests, pictures within the page apart.
      complaints: of its console, and dialogs.
    """

    def __init__(self, browser, address: str, **options):
        self.context = browser.new_context(**options)
        self.page, self.asked, self.complaints = self.context.new_page(), [], []
        self.page.set_default_timeout(10_000)
        self.page.on("request", self._note)
        self.page.on("console", lambda message: self._hear(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(address)

    def _note(self, request) -> None:
        if not request.url.startswith("data:"):
            self.asked.append(request)

    def _hear(self, text: str) -> None:
        if not text.startswith("Canvas2D: Multiple readback"):  # of `frame` below, often
            self.complaints.append(text)

    def ready(self, number: int = 1):
        """The page, once a film's walks can be moved."""
        self.page.locator(f"#film-{number}").scroll_into_view_if_needed()
        self.page.wait_for_selector(f"#film-{number}[data-ready]")
        return self.page

    def frame(self, path: int, number: int = 1) -> np.ndarray:
        """Of a film's frame that is shown, the middle of what each pixel has become."""
        shown = self.page.evaluate(
            """([id, side]) => {
              const canvas = document.getElementById(id);
              const scale = canvas.width / side;
              const { width, height } = canvas;
              const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
              const at = (row, column) =>
                4 * ((row + 0.5) * scale * width + (column + 0.5) * scale);
              return Array.from({ length: side * side }, (_, i) =>
                data[at(Math.floor(i / side), i % side)]);
            }""",
            [f"film-{number}-canvas-{path}", SIDE],
        )
        return np.reshape(shown, (SIDE, SIDE))

    def text(self, id: str) -> str:
        return self.page.locator(f"#{id}").inner_text()


@pytest.fixture
def visit(browser, address) -> Iterator[Visit]:
    opened = Visit(browser, address)
    yield opened
    opened.context.close()


def percent(margin: float) -> str:
    """f of the made-up films is never within half a percent of certain."""
    return f"{100 / (1 + np.exp(-margin)):.0f}%"


def assert_shows(visit: Visit, film, frame: int, number: int = 1) -> None:
    """Number, pixels, probabilities and the curves' marks are those of a frame of the data."""
    first = film.paths[0]
    said = f"frame {frame} of {STEPS}, f: {percent(first.margin[frame])} positive"
    assert visit.text(f"film-{number}-output") == said
    slider = visit.page.locator(f"#film-{number}-frame")
    assert slider.input_value() == str(frame)
    assert slider.get_attribute("aria-valuetext") == said
    for at, path in enumerate(film.paths, start=1):
        canvas = visit.page.locator(f"#film-{number}-canvas-{at}")
        assert canvas.get_attribute("data-frame") == str(frame)
        np.testing.assert_array_equal(visit.frame(at, number), path.frames[frame])
        f, h = percent(path.margin[frame]), percent(path.judge_margin[frame])
        text = visit.text(f"film-{number}-says-{at}")
        assert text.startswith(f"f {f}, h {h}")
        assert ("beyond" in text) == (frame > path.stop)
        mark = visit.page.locator(f"#film-{number}-curve-{at}-f")
        share = 1 / (1 + np.exp(-path.margin[frame]))
        assert float(mark.get_attribute("cx")) == pytest.approx(40 + 270 * frame / STEPS, abs=0.1)
        assert float(mark.get_attribute("cy")) == pytest.approx(138 - 126 * share, abs=0.1)


def test_the_slider_goes_through_the_frames_by_keyboard(visit, films):
    page = visit.ready()
    page.check("#pixels")
    assert_shows(visit, films[0], films[0].paths[0].stop)  # as it is without a script
    page.focus("#film-1-frame")
    for key, frame in (
        ("Home", 0),
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", STEPS),
    ):
        page.keyboard.press(key)
        assert_shows(visit, films[0], frame)
    visit.ready(2)
    page.focus("#film-2-frame")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert_shows(visit, films[1], 1, number=2)
    assert_shows(visit, films[0], STEPS), "each film has its own slider"
    assert visit.complaints == []


def test_frames_are_enlarged_smoothly_unless_single_pixels_are_wanted(visit, films):
    page = visit.ready()
    film = films[0].paths[0]
    smooth = visit.frame(1)
    page.check("#pixels")
    np.testing.assert_array_equal(visit.frame(1), film.frames[film.stop])
    assert np.abs(smooth - visit.frame(1)).max() > 0
    np.testing.assert_array_equal(visit.frame(0), film.frames[0])
    page.uncheck("#pixels")
    np.testing.assert_array_equal(visit.frame(1), smooth)


def test_a_walk_plays_pauses_and_ends(visit, films):
    page = visit.ready()
    button, slider = page.locator("#film-1-play"), page.locator("#film-1-frame")
    output = page.locator("#film-1-output")
    assert output.get_attribute("aria-live") == "polite"
    slider.press("Home")
    button.press("Enter")
    assert button.inner_text() == "Pause" and output.get_attribute("aria-live") == "off"
    assert button.get_attribute("aria-label").startswith("Pause the walk of ")
    playwright.expect(slider).to_have_value(re.compile("[2-5]"))
    button.click()
    assert button.inner_text() == "Play" and output.get_attribute("aria-live") == "polite"
    paused = slider.input_value()
    page.wait_for_timeout(400)
    assert slider.input_value() == paused and 2 <= int(paused) < STEPS
    button.click()
    playwright.expect(slider).to_have_value(LAST)
    playwright.expect(button).to_have_text("Play")
    button.click()  # from the end it begins anew
    playwright.expect(slider).to_have_value(re.compile("[0-5]"))
    slider.press("ArrowRight")
    assert button.inner_text() == "Play", "who moves the slider has the film stand still"
    assert visit.complaints == []


def test_the_overlay_fades_and_outlines_come_and_go(visit):
    page = visit.ready()
    overlay, slider = page.locator("#film-1-overlay"), page.locator("#film-1-opacity")
    opacity = lambda: float(overlay.evaluate("e => getComputedStyle(e).opacity"))
    assert opacity() == pytest.approx(0.8)
    for key, wanted in (("Home", 0.0), ("End", 1.0), ("ArrowLeft", 0.95)):
        slider.press(key)
        assert opacity() == pytest.approx(wanted)
        assert slider.get_attribute("aria-valuetext") == f"{100 * wanted:.0f}%"
    for name, shown in (("lesion_mask", True), ("lung_mask", False)):
        edge = page.locator(f"#film-1-outlines .edge.{name}")
        displayed = "e => getComputedStyle(e).display !== 'none'"
        assert edge.evaluate(displayed) == shown
        page.locator(f"#film-1-{name}").press("Space")
        assert edge.evaluate(displayed) != shown
    assert visit.complaints == []


def test_the_overlay_lies_on_the_film(visit):
    """Same place, same size, nothing mirrored: the top left pixel is drawn at the top left."""
    page = visit.ready()
    boxes = [
        page.locator(f"#film-1-{name}").bounding_box()
        for name in ("image", "canvas-0", "overlay", "outlines")
    ]
    for box in boxes[1:]:
        assert box == pytest.approx(boxes[0], abs=0.5)


def test_names_of_files_are_shown_and_run_nothing(visit):
    visit.ready(2)
    assert visit.text("film-1-name") == HOSTILE and visit.text("film-2-name") == ARABIC
    assert visit.page.locator("article").count() == 2
    assert visit.complaints == []


def test_nothing_but_the_file_is_asked_for(visit, address):
    visit.ready(2)
    visit.page.wait_for_timeout(200)
    assert [request.url for request in visit.asked] == [address] and visit.complaints == []


def test_the_page_could_not_ask_if_it_wanted_to(visit, address):
    page = visit.ready()
    refused = page.evaluate(
        """async () => {
          const image = new Image();
          const failed = new Promise(done => { image.onerror = () => done(true); });
          image.src = "http://127.0.0.1:9/x.png";
          document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.ran = 1'>");
          const script = document.createElement("script");
          script.textContent = "window.ran = 1";
          document.body.append(script);
          const fetched = await fetch("http://127.0.0.1:9/").then(() => true, () => false);
          return (await failed) && !fetched && window.ran === undefined;
        }"""
    )
    assert refused
    assert [request.url for request in visit.asked if not request.failure] == [address]
    assert {request.failure for request in visit.asked[1:]} == {"csp"}


@pytest.mark.parametrize("width", [320, 390, 800])
def test_nothing_is_cut_off_on_a_narrow_screen(browser, address, width):
    visit = Visit(browser, address, viewport={"width": width, "height": 700})
    page = visit.ready()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#film-1-canvas-1").bounding_box()["width"] >= 130
    visit.context.close()


def test_on_paper_there_are_stops_and_strips_instead_of_controls(visit):
    page = visit.ready()
    page.locator("#film-1-frame").press("Home")
    page.emulate_media(media="print")
    assert not page.locator("#film-1-frame").is_visible()
    assert not page.locator("#film-1-canvas-1").is_visible()
    assert page.locator("#film-1-still-1").is_visible()
    assert page.locator("#film-1 .strip img").first.is_visible()
    assert not page.locator("#film-1-says-1").is_visible(), "which tells of the slider's frame"
    assert page.locator("#film-1 .printed").first.is_visible()


def test_without_a_script_the_stops_are_there_and_no_dead_controls(browser, address):
    visit = Visit(browser, address, java_script_enabled=False)
    page = visit.page
    for name in ("image", "overlay", "still-1", "still-2", "curve-1-f"):
        assert page.locator(f"#film-1-{name}").is_visible()
    assert page.locator("#film-1 .strip img").first.is_visible()
    controls = page.locator("input, button")
    assert not any(controls.nth(at).is_visible() for at in range(controls.count()))
    visit.context.close()
