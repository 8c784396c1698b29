"""report.html as a document: parsed, without a browser."""

import base64
import hashlib
import json
from html.parser import HTMLParser

import pytest
from pages import ARABIC, HOSTILE, make_film, make_page

from cxr_jax import plots
from cxr_jax.report.page.render import render, save_page

MEGABYTE = 2**20
VOID = {"meta", "link", "img", "input", "br"}


class Document(HTMLParser):
    """Elements in order, each with its attributes and the text within it.

    Attributes:
      open: elements that have begun and not ended; none may be left in the end.
    """

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements, self.open = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, *tags: str) -> list[dict]:
        return [element for element in self.elements if element["tag"] in tags]


def parse(*films, style=plots.PLAIN, **fields) -> tuple[str, Document]:
    text = render(make_page(*films, **fields), style)
    return text, Document(text)


@pytest.fixture(scope="module")
def page() -> tuple[str, Document]:
    films = [
        make_film(0, name=HOSTILE),
        make_film(1, name=ARABIC, towards=1, num_maps=0),
        make_film(2, name="x' onerror='alert(1)", reason='f <differs> & "h" does not'),
    ]
    return parse(*films, num_explained=30, rejected=[(HOSTILE, "</script><b>")])


def test_elements_are_closed_and_identified_once(page):
    _, document = page
    assert document.open == []
    names = [element["id"] for element in document.elements if "id" in element]
    assert len(names) == len(set(names)) > 50


def test_whatever_is_referred_to_is_there(page):
    _, document = page
    names = {element["id"] for element in document.elements if "id" in element}
    for element in document.elements:
        for attribute in ("for", "aria-labelledby"):
            assert element[attribute] in names if attribute in element else True
        if element["tag"] == "a":
            assert element["href"][0] == "#" and element["href"][1:] in names


def test_every_control_has_a_label(page):
    _, document = page
    labelled = {element["for"] for element in document.all("label")}
    inputs = {element["id"] for element in document.all("input")}
    assert inputs and inputs == labelled
    for button in document.all("button"):
        assert button["aria-label"]


def test_every_picture_says_what_it_is(page):
    _, document = page
    assert all(image["alt"] for image in document.all("img"))
    for drawing in document.all("svg"):
        assert drawing.get("aria-hidden") == "true" or drawing["aria-labelledby"]


def test_headings_leave_out_no_level(page):
    _, document = page
    levels = [int(element["tag"][1]) for element in document.all("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert document.all("html")[0]["lang"] == "en"


def test_nothing_is_asked_of_a_network(page):
    _, document = page
    for element in document.elements:
        for attribute in ("src", "href", "srcset", "data", "action", "poster"):
            if attribute in element:
                assert element[attribute].startswith(("data:", "#")), element
    code = [element["text"] for element in document.all("style", "script")]
    for start in ("http:", "https:", "url(", "@import", "import(", "fetch", "XMLHttpRequest"):
        assert not any(start in text for text in code), start


def test_the_policy_lets_this_script_run_and_no_other(page):
    _, document = page
    (policy,) = (e["content"] for e in document.all("meta") if "http-equiv" in e)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    (script,) = (e["text"] for e in document.all("script") if "type" not in e)
    (sheet,) = (e["text"] for e in document.all("style"))
    for text in (script, sheet):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not any("style" in e or any(k.startswith("on") for k in e) for e in document.elements)


def test_names_are_text_and_nothing_else(page):
    text, document = page
    titles = [element["text"] for element in document.all("h3")]
    for name in (HOSTILE, ARABIC, "x' onerror='alert(1)"):
        assert name in titles
    assert "<script>alert" not in text and len(document.all("script")) == 2
    assert not document.all("differs")
    assert any('f <differs> & "h" does not' in e["text"] for e in document.all("p"))
    assert any(e["text"] == f"{HOSTILE}: </script><b>" for e in document.all("li"))


def test_the_scripts_data_are_json_that_ends_no_script(page):
    _, document = page
    (block,) = (e["text"] for e in document.all("script") if e.get("type") == "application/json")
    assert "<" not in block and "&" not in block
    films = json.loads(block)["films"]
    assert [film["number"] for film in films] == [1, 2, 3]
    for film in films:
        assert film["numbers"] == list(range(7)) and film["last"] == 6
        for path in film["paths"]:
            assert len(path["f"]) == len(path["h"]) == len(path["x"]) == 7


def test_a_path_whose_title_is_hostile_stays_in_the_data():
    _, document = parse(make_film(paths=("</script><script>alert(1)</script>",)))
    assert len(document.all("script")) == 2
    (block,) = (e["text"] for e in document.all("script") if "type" in e)
    assert json.loads(block)["films"][0]["paths"][0]["name"].startswith("</script>")


def test_the_page_says_what_it_leaves_out(page):
    _, document = page
    (body,) = (e["text"] for e in document.all("body"))
    assert "This page shows 3 of 30 explained films" in body
    assert "This page shows" not in parse(make_film())[1].all("body")[0]["text"]


def test_it_says_twice_that_it_is_for_research_only(page):
    _, document = page
    notices = [e["text"] for e in document.all("p") if e.get("class") == "notice"]
    assert len(notices) == 2
    assert all("Not a medical device; not for diagnosis." in text for text in notices)


def test_overlay_and_words_follow_the_colour_map():
    text, _ = parse(make_film(), style=plots.Style(change="PuOr_r"))
    assert "made brighter, orange" in text and "made darker, purple" in text


def test_a_page_of_films_alone_has_no_empty_section():
    _, document = parse(
        make_film(), tables=(), audit="", audit_tables=(), rejected=[], coverage="", map_notes={}
    )
    titles = {e["text"] for e in document.all("h2")}
    assert titles == {"What this is, and how to read it", "Films", "Where this comes from"}


def test_a_name_that_is_no_unicode_can_be_written(tmp_path):
    save_page(tmp_path / "report.html", make_page(make_film(name="\udcff.png")), plots.PLAIN)
    assert "?.png" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize(("everywhere", "most"), [(False, 11), (True, 15)])
def test_24_noisy_films_of_128_pixels_stay_below_15_megabytes(everywhere, most):
    """Of three paths of 25 frames and eight maps; a page grows with its films, so that two do."""
    films = [
        make_film(
            seed,
            side=128,
            steps=24,
            num_maps=8,
            paths=("necessary", "linear", "aligned"),
            everywhere=everywhere,
        )
        for seed in range(2)
    ]
    empty, two = (len(render(make_page(*some), plots.PLAIN)) for some in ((), films))
    assert empty + 12 * (two - empty) < most * MEGABYTE
