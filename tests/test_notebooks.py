"""Each notebook is the executed form of the script beside it."""

import ast
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

from vggrepro.pages.figures import LEAST_CONTRAST, contrast, ink
from vggrepro.pages.report import CONTRADICTED

BOOK = Path(__file__).resolve().parents[1] / "book"
SCRIPTS = sorted(BOOK.glob("*.py"))
FINDS = re.compile(r"chapter\.found|report\.Findings")
CHAPTERS = [script for script in SCRIPTS if re.match(r"\d\d_", script.stem)]
all_scripts = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def executed(script: Path):
    return nbformat.read(script.with_suffix(".ipynb"), as_version=4)


def contents(notebook) -> list[tuple]:
    return [
        (cell.cell_type, cell.source, sorted(cell.metadata.get("tags", ())))
        for cell in notebook.cells
    ]


def with_tag(notebook, tag: str) -> list:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]


def test_every_notebook_has_a_script():
    assert {path.stem for path in BOOK.glob("*.ipynb")} == {script.stem for script in SCRIPTS}


@all_scripts
def test_script_and_notebook_agree(script):
    assert contents(executed(script)) == contents(jupytext.read(script))


@all_scripts
def test_every_cell_has_run_once_and_in_order(script):
    code = [cell for cell in executed(script).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error"] == []
    assert [output for output in outputs if output.get("name") == "stderr"] == []


@all_scripts
def test_kernel_is_one_that_everyone_has(script):
    assert executed(script).metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("script", CHAPTERS, ids=lambda script: script.stem)
def test_a_chapter_has_one_cell_of_parameters(script):
    notebook = executed(script)
    (cell,) = with_tag(notebook, "parameters")
    # What a reader sets is put in after it: whatever else it held would not see that.
    assert all(isinstance(node, ast.AnnAssign) for node in ast.parse(cell.source).body)
    assert with_tag(notebook, "injected-parameters") == []


@pytest.mark.parametrize(
    "script",
    [*CHAPTERS[1:-2], BOOK / "summary.py", BOOK / "index.py"],
    ids=lambda script: script.stem,
)
def test_a_chapter_says_in_plain_words_what_was_found_and_the_records_agree(script):
    """A sentence that the records no longer bear out has to be written anew."""
    cells = [cell for cell in executed(script).cells if cell.cell_type == "code"]
    assert any(FINDS.search(cell.source) for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs if "data" in output]
    text = "\n".join(output.data.get("text/markdown", "") for output in outputs)
    assert "only a verdict decides" in text
    assert ("¹ marks" in text) == bool(re.search(r"\d\.\d¹", text)), "explained where it is used"
    assert CONTRADICTED not in text


@all_scripts
def test_what_cells_say_has_no_markup_that_only_prose_can_have(script):
    """Formulas and roles of MyST are plain text in the output of a cell."""
    code = [cell for cell in executed(script).cells if cell.cell_type == "code"]
    said = [o.get("data", {}).get("text/markdown", "") for cell in code for o in cell.outputs]
    assert (
        re.findall(r"\$[^$\n]*[\\^_][^$\n]*\$|\{(?:cite|numref|doc)[:\w]*\}`", "\n".join(said))
        == []
    )


def drawn_in(cell) -> list[str]:
    return [o.data.get("image/svg+xml", "") for o in cell.get("outputs", []) if "data" in o]


@all_scripts
def test_what_figures_say_stands_out_from_the_page(script):
    """White is for text on a dark bar. The rest is on the page: 4.5 is what WCAG 2 asks (AA)."""
    drawn = "".join(text for cell in executed(script).cells for text in drawn_in(cell))
    colours = set(re.findall(r"<text [^>]*fill: (#\w{6})", drawn)) - {"#ffffff"}
    assert [one for one in colours if contrast(one) < LEAST_CONTRAST] == []


def test_contrast_is_that_of_wcag():
    known = {"#000000": 21, "#ffffff": 1, "#777777": 4.48, "#ff0000": 4.0, "#0000ff": 8.59}
    for colour, ratio in known.items():
        assert contrast(colour) == pytest.approx(ratio, abs=0.01)
        assert contrast(ink(colour)) >= LEAST_CONTRAST
    assert ink("#0000ff") == "#0000ff", "what stands out is left as it is"


def test_figures_that_hold_images_keep_a_light_card_on_a_dark_page():
    """Turned around with the rest, an image would be its own negative."""
    css = (BOOK / "assets" / "custom.css").read_text(encoding="utf-8")
    for script in SCRIPTS:
        for cell in executed(script).cells:
            name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
            if any("data:image/png" in text for text in drawn_in(cell)):
                assert f"#{name}" in css
