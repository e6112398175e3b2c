"""Every page of the built site, as a reader meets it."""

import pytest
import yaml

from book.tools.code import ROOT
from book.tools.site_checks import check_html
from tests.book import browser as looks
from tests.book import frame

pytestmark = pytest.mark.site

TOC = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
FILES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
PAGES = [f"{file}.html" for file in FILES]
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]


def test_every_page_is_built(site):
    built = {file.relative_to(site).as_posix() for file in site.rglob("*.html")}
    assert built == {*PAGES, "index.html", "search.html", "404.html"}


def test_the_files_hold_together(site):
    assert check_html(site) == []


def test_the_first_page_leads_to_the_cover(page, address):
    page.goto(f"{address}index.html")
    page.wait_for_url("**/book/index.html")


def test_an_unknown_macro_is_found(page, address):
    looks.visit(page, address, "book/notation.html")
    page.evaluate(
        r"""async () => {
            const formula = document.querySelector('.bd-article .math');
            formula.textContent = '\\(\\nosuchmacro\\)';
            await MathJax.typesetPromise([formula]);
        }"""
    )
    assert "wrong formula" in "".join(looks.mathematics(page))


@pytest.mark.parametrize("name", [*PAGES, "search.html"])
def test_page_is_whole_accessible_and_fits_a_phone(page, address, name):
    found = {"visit": looks.visit(page, address, name)}
    # The last makes the screen small.
    for check in (looks.pictures, looks.mathematics, looks.search_fields, looks.accessibility, looks.sideways):
        found[check.__name__] = check(page)
    assert {check: complaints for check, complaints in found.items() if complaints} == {}


@pytest.mark.parametrize("name", [PAGES[0], PAGES[-1], *CHAPTERS[-1:]])
def test_the_dark_theme_has_contrast(page, address, name):
    looks.visit(page, address, name)
    assert looks.set_mode(page, "dark")
    assert looks.accessibility(page, "color-contrast") == []


def test_phone_is_accessible(page, address):
    page.set_viewport_size(looks.PHONE)
    looks.visit(page, address, CHAPTERS[-1] if CHAPTERS else PAGES[0])
    assert looks.accessibility(page) == []


def test_dark_mode_changes_the_page(page, address):
    looks.visit(page, address, PAGES[0])
    assert looks.dark_mode(page) == []


def test_search_finds_a_word(page, address):
    chapter = "notebooks/02_cosine_similarity"
    word, expected = ("cosine", chapter) if chapter in FILES else ("textbook", "book/index")
    assert looks.search(page, address, word, expected) == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_solutions_are_folded_and_open(page, address, name):
    looks.visit(page, address, name)
    assert page.locator(".bd-article div.solution").count() > 0
    assert looks.folded_solutions(page) == []


def test_the_cover_links_to_every_chapter(page, address):
    looks.visit(page, address, PAGES[0])
    linked = page.eval_on_selector_all(".system-map.wide a", "links => links.map(link => link.getAttribute('href'))")
    assert sorted(linked) == sorted(f"../{chapter}" for chapter in CHAPTERS)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_keeps_to_the_limits(page, address, name):
    assert frame.complaints(frame.measures(page, address, name)) == []


def test_the_book_is_no_listing_of_code(page, address):
    shares = {name: frame.code_share(page, address, name) for name in CHAPTERS}
    assert sum(shares.values()) / len(shares) <= frame.MEAN_CODE, shares


@pytest.mark.parametrize("name", [PAGES[0], CHAPTERS[0]])
def test_pages_say_what_they_are(page, address, name):
    looks.visit(page, address, name)
    for query in ("meta[name=description]", "meta[property='og:image']", "meta[property='og:title']"):
        assert page.eval_on_selector(query, "tag => tag.content")


def test_an_address_that_leads_nowhere_has_a_page(page, address):
    looks.visit(page, address, "404.html")
    page.get_by_role("link").click()
    page.wait_for_url("**/book/index.html")


@pytest.mark.parametrize("name", CHAPTERS[:1])
def test_figures_grow_by_mouse_and_by_keyboard(page, address, name):
    looks.visit(page, address, name)
    page.locator("figure.plot .wide svg").first.click()
    page.get_by_role("dialog").get_by_role("button").click()
    assert page.locator("dialog.enlarged").count() == 0
    page.locator("button.enlarge").first.press("Enter")
    page.keyboard.press("Escape")
    assert page.locator("dialog.enlarged").count() == 0


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_is_folded_is_called_what_the_eye_reads(page, address, name):
    looks.visit(page, address, name)
    names = page.eval_on_selector_all(
        "details.hide > summary, button.toggle-button", "all => all.map(one => one.ariaLabel ?? one.innerText.trim())"
    )
    assert all(names)
    assert "Toggle hidden content" not in names
