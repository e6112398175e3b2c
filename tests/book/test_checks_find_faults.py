"""A page with a fault of each kind: every check must see its own. A check that cannot fail proves nothing."""

import pytest

from tests.book import browser as looks

pytestmark = pytest.mark.site

BROKEN = """<!DOCTYPE html><html data-mode="light"><head><title>x</title>
<script>console.error("out of order")</script><script>missing_function()</script>
<script src="http://192.0.2.1/outside.js"></script><script src="gone.js"></script></head>
<body data-default-mode="nonsense" style="background: white">
<button class="theme-switch-button" onclick="
  const d = document.documentElement.dataset; d.mode = d.mode === 'light' ? 'dark' : 'light'">mode</button>
<button class="search-button__button">one</button><button class="search-button__button">two</button>
<div class="bd-article">
  <img src="gone.png"><div class="math">\\[ x^2 \\]</div>
  <mjx-container><mjx-merror>Undefined</mjx-merror></mjx-container>
  <div class="solution"><p class="admonition-title">Open</p><p>The answer.</p></div>
  <div class="solution"><p class="admonition-title">Stuck</p><p style="display: none">The answer.</p>
    <button class="toggle-button">Show</button></div>
  <div style="width: 900px">wide</div><p style="color: #ccc; background: #ddd">pale</p>
</div></body></html>"""
SEARCH = "<!DOCTYPE html><html><head><title>x</title></head><body><ul id='search-results'>{}</ul></body></html>"


@pytest.fixture
def broken(page, tmp_path):
    (tmp_path / "page.html").write_text(BROKEN, encoding="utf-8")
    (tmp_path / "search.html").write_text(SEARCH.format(""), encoding="utf-8")
    with looks.served(tmp_path) as base:
        # The outside address must not be waited for: it is refused, as on a machine with no network.
        page.route("http://192.0.2.1/**", lambda route: route.abort())
        yield page, base, looks.visit(page, base, "page.html")


def test_loading_faults_are_found(broken):
    complaints = "\n".join(broken[2])
    for fault in ("out of order", "missing_function", "left the machine: http://192.0.2.1/", "404:"):
        assert fault in complaints


@pytest.mark.parametrize(
    ("check", "faults"),
    [
        (looks.pictures, ["no alt text", "not drawn"]),
        (looks.mathematics, ["not typeset", "wrong formula"]),
        (looks.search_fields, ["2 search fields"]),
        (looks.dark_mode, ["brightness is 255 in light mode and 255 in dark mode"]),
        (looks.folded_solutions, ["not folded: Open", "does not open: Stuck"]),
        (looks.sideways, ["pixels wide"]),
        (looks.accessibility, ["image-alt", "color-contrast", "html-has-lang"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_faults_are_found(broken, check, faults):
    complaints = "\n".join(check(broken[0]))
    for fault in faults:
        assert fault in complaints


def test_search_that_finds_nothing_is_found(broken, monkeypatch):
    page, base, _ = broken
    page.set_default_timeout(2_000)
    assert looks.search(page, base, "cosine", "chapter") == ["search finds nothing for 'cosine'"]


def test_search_that_finds_the_wrong_page_is_found(page, tmp_path):
    (tmp_path / "search.html").write_text(SEARCH.format('<li><a href="other.html">other</a></li>'), encoding="utf-8")
    with looks.served(tmp_path) as base:
        assert "misses chapter" in looks.search(page, base, "cosine", "chapter")[0]


def test_missing_switch_is_found(page, tmp_path):
    (tmp_path / "page.html").write_text("<html data-mode='light'><body>no switch</body></html>", encoding="utf-8")
    with looks.served(tmp_path) as base:
        looks.visit(page, base, "page.html")
        assert looks.dark_mode(page) == ["the switch does not lead to dark mode"]
