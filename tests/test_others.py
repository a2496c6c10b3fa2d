"""Other people's retrainings: what counts, the mean over families, and what is refused."""

import csv
from pathlib import Path

import matplotlib
import nbformat
import numpy as np
import pytest
from scipy import stats

from vggrepro import UserError
from vggrepro.pages import others as page
from vggrepro.study.others import (
    DIFFERENCES,
    FIRST_BY_INDEPENDENCE,
    LEAST_EPOCHS,
    PUBLISHED,
    Analysis,
    Row,
    differences,
    leave_one_out,
    load,
    summarise,
    taking_part,
)

matplotlib.use("agg")

BOOK = Path(__file__).resolve().parents[1] / "book"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LINE = {
    **dict.fromkeys(Row.model_fields, ""),
    "family": "a lab",
    "series": "1",
    "net": "D",
    "norm": "none",
    "independence": "log",
    "weights": "a lab/D",
    "epochs": "90",
    "top1_error": "28.0",
    "top5_error": "9.0",
    "views": "one crop",
    "protocol": "short side 256, centre crop 224",
    "source": "lab/nets",
    "address": f"https://github.com/lab/nets/blob/{COMMIT}/README.md",
}


def line(**cells: object) -> dict[str, str]:
    """A line of the file; its weights are its own unless given."""
    found = LINE | {column: str(cell) for column, cell in cells.items()}
    own = "/".join(found[column] for column in ("family", "series", "net", "norm"))
    return found | ({} if "weights" in cells else {"weights": own})


def trained(family: str, **errors: float) -> list[dict[str, str]]:
    """The lines of one family, top-1 errors by net."""
    return [
        line(family=family, net=net, top1_error=error, top5_error="")
        for net, error in errors.items()
    ]


def written(path: Path, lines: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Row.model_fields))
        writer.writeheader()
        writer.writerows(lines)
    return path


def rows_of(*lines: dict[str, str]) -> list[Row]:
    return [Row.model_validate(cells) for cells in lines]


def counts(independence: str, doubt: str, analysis: Analysis) -> bool:
    (row,) = rows_of(line(independence=independence, doubt=doubt))
    return row.counts(analysis)


def published() -> list[dict[str, str]]:
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- the mean over families -----------------------------------------------------------------


def test_intervals_are_those_of_a_table_of_students_t():
    found = summarise([1.0, 2.0, 3.0])  # standard deviation 1; t of 2 degrees at 97.5 % is 4.3027
    assert (found.families, found.mean) == (3, 2.0)
    assert found.interval == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    assert found.predicted == pytest.approx((2 - 4.3027 * (4 / 3) ** 0.5, 2 + 4.9683), abs=1e-4)


@pytest.mark.parametrize("families", [2, 5, 9])
def test_the_interval_is_scipys_own(families):
    values = np.random.default_rng(families).normal(0.8, 0.3, families)
    oracle = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert summarise(values).interval == pytest.approx((oracle.low, oracle.high))


def simulated(generator: np.random.Generator, truth: float, families: int) -> list[Row]:
    """Families whose D and E differ by `truth` on average, each at a level of its own."""
    lines = []
    for number in range(families):
        level = generator.uniform(24, 32)  # its resize code, its recipe
        gap = generator.normal(truth, 0.25)
        lines += trained(f"lab {number}", D=level, E=level - gap)
    return rows_of(*lines)


def test_intervals_cover_a_known_truth_and_the_next_family_as_often_as_they_say():
    generator, truth, times = np.random.default_rng(0), 0.8, 1500
    covered = predicted = 0
    for _ in range(times):
        found = summarise(list(differences(simulated(generator, truth, 6), "D", "E").values()))
        covered += found.interval[0] <= truth <= found.interval[1]
        predicted += found.predicted[0] <= generator.normal(truth, 0.25) <= found.predicted[1]
    four_errors = 4 * (0.95 * 0.05 / times) ** 0.5
    assert covered / times == pytest.approx(0.95, abs=four_errors)
    assert predicted / times == pytest.approx(0.95, abs=four_errors)


def test_one_outlier_widens_the_interval_and_leaving_it_out_finds_the_truth():
    usual = {f"lab {number}": 0.8 + 0.05 * (-1) ** number for number in range(6)}
    found = summarise([*usual.values(), -2.0])
    assert found.mean == pytest.approx((6 * 0.8 - 2) / 7)
    assert found.interval[0] < 0 < 0.8 < found.interval[1]
    without = leave_one_out(usual | {"outlier": -2.0})
    assert without["outlier"].mean == pytest.approx(0.8)
    assert without["outlier"].interval[0] > 0.7
    furthest = max(without, key=lambda family: abs(without[family].mean - found.mean))
    assert furthest == "outlier"


def test_one_family_has_no_interval_and_none_no_mean():
    assert summarise([0.8]).interval is summarise([0.8]).predicted is None
    with pytest.raises(UserError, match="No family"):
        summarise([])
    with pytest.raises(UserError, match="two families"):
        leave_one_out({"only": 0.8})


# --- what counts ----------------------------------------------------------------------------


def test_differences_are_within_a_family_and_positive_where_the_second_net_errs_less():
    rows = rows_of(
        *trained("low", A=25.0, B=24.0, D=22.5),
        *trained("high", A=35.0, B=33.5),
        *trained("one", D=9),
    )
    assert differences(rows, "A", "B") == {"low": 1.0, "high": 1.5}
    assert differences(rows, "B", "D") == {"low": 1.5}
    assert {row.family for row in taking_part(rows)} == {"low", "high"}


def test_series_of_one_lab_are_one_number_and_an_earlier_generation_is_sensitivity():
    rows = rows_of(
        *trained("lab", D=28.0, E=27.0),
        *(cells | {"series": "2"} for cells in trained("lab", D=30.0, E=28.0)),
        *(cells | {"series": "0", "doubt": "earlier"} for cells in trained("lab", D=31.0, E=31.5)),
    )
    assert differences(rows, "D", "E") == {"lab": 1.5}
    assert differences(rows, "D", "E", Analysis.WIDE) == {"lab": 1.5, "lab, 0": -0.5}


def test_nets_of_two_series_or_of_two_kinds_of_normalisation_are_not_compared():
    d, e = trained("lab", D=28.0, E=27.0)
    assert differences(rows_of(d, e | {"series": "2"}), "D", "E") == {}
    assert differences(rows_of(d, e | {"norm": "batch"}), "D", "E") == {}
    normalised = rows_of(d | {"norm": "batch"}, e | {"norm": "batch"})
    assert differences(normalised, "D", "E", norm="batch") == {"lab": 1.0}


@pytest.mark.parametrize("independence", ["passed on", "continued"])
def test_weights_of_others_never_count(independence):
    assert not any(counts(independence, "", analysis) for analysis in Analysis)


def test_each_analysis_holds_the_one_before_it():
    for independence in FIRST_BY_INDEPENDENCE:
        for doubt in ("", "earlier", "faulty page", "one of a kind", "cut short", "changed"):
            taken = [counts(independence, doubt, analysis) for analysis in Analysis]
            assert taken == sorted(taken)
    assert counts("label", "", Analysis.MAIN) and not counts("label", "", Analysis.STRICT)


# --- what is refused ------------------------------------------------------------------------

MALFORMED = {
    "no family": ({"family": ""}, "family"),
    "an unknown net": ({"net": "VGG-16"}, "net"),
    "an unknown word": ({"independence": "yes"}, "independence"),
    "an error above 100 %": ({"top1_error": "128"}, "top1_error"),
    "an accuracy as a share": ({"top1_error": "0.72"}, "top5_error is not below top1_error"),
    "an error in words": ({"top1_error": "28 %"}, "top1_error"),
    "not a number": ({"top1_error": "nan"}, "top1_error"),
    "no error": ({"top1_error": "", "top5_error": ""}, "both empty"),
    "half an epoch": ({"epochs": "74.5"}, "epochs"),
    "no epochs at all": ({"epochs": "0"}, "epochs"),
    "no source": ({"source": ""}, "source"),
    "no address": ({"address": ""}, "address"),
    "an address that nobody can open": ({"address": "/home/me/log.txt"}, "address must be a page"),
    "an address that changes": (
        {"address": "https://github.com/lab/nets/blob/main/README.md"},
        "a file at a full commit",
    ),
    "a day that is none": ({"checked": "2026-02-30"}, "checked"),
    "a changed net that counts": ({"variant": "BlurPool"}, "`changed`"),
    "a short training that counts": ({"epochs": LEAST_EPOCHS - 1}, "`cut short`"),
}


@pytest.mark.parametrize(("cells", "said"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_line_is_refused_with_one_line_that_names_it(tmp_path, cells, said):
    path = written(tmp_path / "file.csv", [*trained("before", D=28.0), line(**cells)])
    with pytest.raises(UserError) as refused:
        load(path)
    message = str(refused.value)
    assert message.startswith(f"{path}, line 3: ") and "\n" not in message
    assert said in message


TOGETHER = {
    "the same weights in two families": (
        [line(family="first", weights="w"), line(family="second", weights="w")],
        "belong to first",
    ),
    "weights passed on to a family that did not train them": (
        [
            line(family="first", weights="w"),
            line(family="second", weights="w", independence="passed on"),
        ],
        "belong to first",
    ),
    "weights that count twice": (
        [line(weights="w"), line(weights="w", protocol="another")],
        "count in line 2 already",
    ),
    "a series with two protocols": (
        [line(net="D"), line(net="E", protocol="ten crops of 224")],
        "one protocol",
    ),
}


@pytest.mark.parametrize(("lines", "said"), TOGETHER.values(), ids=TOGETHER)
def test_lines_that_do_not_go_together_are_refused(tmp_path, lines, said):
    with pytest.raises(UserError, match=said) as refused:
        load(written(tmp_path / "file.csv", lines))
    assert "line 3" in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_is_no_such_table_is_refused(tmp_path):
    path = tmp_path / "file.csv"
    with pytest.raises(UserError, match="cannot be read"):
        load(path)
    path.write_text("family,net\nlab,D\n")
    with pytest.raises(UserError, match="the columns must be family, series"):
        load(path)
    path.write_text(f"{','.join(Row.model_fields)}\nlab,D\n")
    with pytest.raises(UserError, match="line 2: there must be"):
        load(path)


# --- the file and the pages -----------------------------------------------------------------


def test_every_row_has_an_address_and_every_difference_several_families():
    rows = load()
    assert all(row.source and row.address.startswith("https://") for row in rows)
    assert sum(row.checked is not None for row in rows) >= 20
    assert all(len(differences(rows, *pair)) >= 2 for pair in DIFFERENCES)


def test_a_row_added_moves_the_tables_the_sentence_and_the_plots(tmp_path):
    before = load()
    path = written(tmp_path / "more.csv", [*published(), *trained("a new lab", D=30.0, E=35.0)])
    after = load(path)
    assert "a new lab" not in page.trainings_table(before).index
    shown = page.trainings_table(after).loc["a new lab"]
    assert LINE["address"] in shown["D"] and ">30.0<" in shown["D"] and shown["A"] == "–"
    row = page.minus("D", "E")
    assert page.means_table(before).loc[row, "mean"] != page.means_table(after).loc[row, "mean"]
    assert page.finding(before) != page.finding(after)
    assert page.in_one_sentence(before) != page.in_one_sentence(after)
    figures = [page.forest(rows) for rows in (before, after)]
    names = [{text.get_text() for text in figure.axes[0].texts} for figure in figures]
    assert names[1] - names[0] >= {"a new lab", "−5.00", "mean of 7"}


def test_the_papers_differences_are_those_of_its_table():
    assert page.paper_difference("A", "D") == pytest.approx(29.6 - 27.0)
    assert page.paper_difference("D", "E") == pytest.approx(27.0 - 27.3)
    assert page.paper_difference("D", "E", page.JITTER) == pytest.approx(25.6 - 25.5)


@pytest.mark.parametrize(
    ("chapter", "said"), [("12_others", page.finding), ("index", page.in_one_sentence)]
)
def test_the_pages_say_what_the_file_says(chapter, said):
    notebook = nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4)
    shown = [
        output.get("data", {}).get("text/markdown", "")
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    ]
    assert any(said(load()) in text for text in shown)
