"""The built book: builds without a warning, is complete, and asks no other host for anything."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from tests.browser import Browser, find_browser
from vggrepro.pages.verdicts import Verdicts
from vggrepro.study import store

ROOT = Path(__file__).resolve().parents[1]

# Attributes that a browser fetches by itself, by tag. A link (<a href>) waits for a click.
FETCHED = {
    "script": ("src",), "img": ("src", "srcset"), "iframe": ("src",), "source": ("src", "srcset"),
    "video": ("src", "poster"), "audio": ("src",), "embed": ("src",), "object": ("data",),
}  # fmt: skip
FETCHED_LINKS = {"stylesheet", "icon", "shortcut", "preload", "prefetch", "preconnect",
                 "dns-prefetch", "modulepreload", "manifest"}  # fmt: skip


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> Path:
    """Build the committed book as `make book` does, somewhere else, with warnings as errors."""
    output = tmp_path_factory.mktemp("book")
    main = "from jupyter_book.cli.main import main; main()"
    build = [sys.executable, "-c", main, "build", str(ROOT / "book"), "-W", "--keep-going"]
    done = subprocess.run(
        [*build, "--quiet", "--path-output", str(output)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return output / "_build" / "html"


# The heads of tables that are wider than their column, folded ones left out.
CUT_OFF = """[...document.querySelectorAll(".bd-article table")]
    .map(table => [table, table.closest(".output, .pst-scrollable-table-container")])
    .filter(([_, box]) => box && box.innerText.trim() && box.scrollWidth > box.clientWidth + 1)
    .map(([table, _]) => table.tHead.innerText)"""


def toc_files() -> list[str]:
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    parts = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *parts]


class Fetches(HTMLParser):
    """Collects the addresses that a page fetches by itself."""

    def __init__(self, page: str):
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        names = FETCHED.get(tag, ())
        if tag == "link" and FETCHED_LINKS & set((attributes.get("rel") or "").split()):
            names = ("href",)
        self.addresses += [attributes[name] for name in names if attributes.get(name)]
        self.addresses += css_addresses(attributes.get("style") or "")


def css_addresses(css: str) -> list[str]:
    return [
        first or second
        for first, second in re.findall(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""", css)
    ]


def is_external(address: str) -> bool:
    address = address.strip()
    return address.startswith("//") or urlsplit(address).scheme in ("http", "https", "ws", "wss")


def test_the_checks_below_see_what_they_should():
    page = """<script src="https://a.org/x.js"></script><a href="https://b.org">kept</a>
      <link rel="preload stylesheet" href="//c.org/x.css"><div style="background:url('http://d.org')">
      <img src="local.png"><img src="data:image/png;base64,AA"><link rel="canonical" href="https://e">"""
    external = [address for address in Fetches(page).addresses if is_external(address)]
    assert external == ["https://a.org/x.js", "//c.org/x.css", "http://d.org"]
    assert css_addresses('@import "https://f.org"; a { b: url( "g.woff" ) }') == [
        "https://f.org",
        "g.woff",
    ]


def test_every_page_of_the_contents_is_built(html):
    assert all((html / f"{name}.html").exists() for name in toc_files())


def test_every_chapter_is_in_the_contents():
    chapters = {path.stem for path in (ROOT / "book").glob("*.ipynb")}
    assert chapters <= set(toc_files())


def test_pages_and_styles_fetch_nothing_from_elsewhere(html):
    external = [
        (path.name, address)
        for path in html.rglob("*.html")
        for address in Fetches(path.read_text(encoding="utf-8")).addresses
        if is_external(address)
    ]
    external += [
        (path.name, address)
        for path in html.rglob("*.css")
        for address in css_addresses(path.read_text(encoding="utf-8"))
        if is_external(address)
    ]
    assert external == []


def test_links_within_the_book_lead_somewhere(html):
    broken = []
    for page in html.glob("*.html"):
        for address in re.findall(r'<a [^>]*href="([^"#]+)', page.read_text(encoding="utf-8")):
            parts = urlsplit(address)
            if not parts.scheme and not (page.parent / unquote(parts.path)).exists():
                broken.append((page.name, address))
    assert broken == []


def test_tables_and_toggles_have_names_that_say_what_they_are(html):
    for page in map(Path.read_text, html.glob("*.html")):
        assert "<th></th>" not in page and "Toggle hidden content" not in page
        assert 'role="doc-biblioentry"' not in page and ' title="Light"' not in page
        assert 'role="complementary"' in page or "bd-sidebar-primary" not in page


def test_records_and_claims_can_be_taken_along(html):
    records = (html / "_static" / "records.csv").read_text(encoding="utf-8").splitlines()
    claims = (html / "_static" / "claims.csv").read_text(encoding="utf-8").splitlines()
    assert len(records) == 1 + len(store.frame()) and records[0].startswith("kind,round,budget")
    assert len(claims) == 1 + len(Verdicts().claims())


@pytest.mark.skipif(not find_browser(), reason="no Chromium on PATH")
def test_in_a_browser_without_network(html, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        for name in toc_files():
            page = html / f"{name}.html"
            browser.open(page.as_uri())
            # MathJax works after the load event; its promise says when it is done.
            browser.evaluate("window.MathJax?.startup?.promise.then(() => 1)")
            requested = {
                event["params"]["request"]["url"]
                for event in browser.events()
                if event["method"] == "Network.requestWillBeSent"
            }
            assert page.as_uri() in requested
            assert [url for url in requested if is_external(url)] == [], name
            assert [event for event in browser.events() if is_error(event)] == [], name
            formulas = browser.evaluate("document.querySelectorAll('.math').length")
            drawn = browser.evaluate("document.querySelectorAll('.math mjx-container svg').length")
            assert drawn == formulas, f"{name}: {drawn} of {formulas} formulas are drawn"
            browser.resize(400, 800)
            overflow = browser.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            browser.resize(1400, 900)
            assert overflow <= 0, f"{name} is wider than a phone by {overflow} px"
            assert browser.evaluate(CUT_OFF) == [], f"{name}: a laptop's window cuts these tables"


def is_error(event: dict) -> bool:
    if event["method"] == "Log.entryAdded":
        return event["params"]["entry"]["level"] == "error"
    return event["method"] == "Runtime.exceptionThrown"
