"""Pages that need no other host: MathJax from the site itself, no Thebe; and the study as CSV.

sphinx-mathjax-offline's own extension would copy all of MathJax (24 MB); one file is enough.
Jupyter Book puts Thebe's scripts on each page, twice, even where no page can run live.
"""

from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile

MATHJAX = "mathjax/tex-svg.js"


def copy_mathjax(app, exception):
    if exception is None and app.builder.format == "html":
        package = Path(find_spec("sphinx-mathjax-offline").origin).parent
        target = Path(app.outdir, "_static", MATHJAX)
        target.parent.mkdir(parents=True, exist_ok=True)
        copyfile(package / "static" / MATHJAX, target)


def drop_thebe(app, pagename, templatename, context, doctree):
    context["script_files"] = [
        script
        for script in context.get("script_files", ())
        if "thebe" not in f"{script.filename} {script.attributes.get('body')}".lower()
    ]


def write_tables(app, exception):
    """All records and all claims beside the pages, for readers to take with them."""
    if exception is None and app.builder.format == "html":
        from vggrepro.pages.verdicts import Verdicts
        from vggrepro.study import store

        static = Path(app.outdir, "_static")
        store.frame().to_csv(static / "records.csv", index=False)
        Verdicts().claims().to_csv(static / "claims.csv", index=False)


#: What the theme writes, and what it should: no head of a table that says nothing, no name of a
#: button other than what it shows, references as items of their list, a landmark for the contents.
NAMES = {
    "<th></th>": "<td></td>",
    ' aria-label="Toggle hidden content"': "",
    'title="Search" aria-label="Search" data-bs': 'title="Search" data-bs',
    ' title="Light"': "",
    ' title="Dark"': "",
    ' title="System Settings"': "",
    'role="doc-biblioentry"': 'role="listitem"',
    'class="bd-sidebar-primary bd-sidebar"': 'class="bd-sidebar-primary bd-sidebar" role="complementary"',
}


def plain_names(app, exception):
    if exception is None and app.builder.format == "html":
        for path in Path(app.outdir).glob("*.html"):
            page = path.read_text(encoding="utf-8")
            for written, better in NAMES.items():
                page = page.replace(written, better)
            path.write_text(page, encoding="utf-8")


def setup(app):
    app.config.mathjax_path = MATHJAX
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", write_tables)
    app.connect("build-finished", plain_names)
    app.connect("html-page-context", drop_thebe, priority=900)  # after the extensions' own
    return {"parallel_read_safe": True}
