"""Every way in which the study differs from the paper, from the declarations and the source."""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vggrepro.pages.report import DATA_NAMES, Column
from vggrepro.study.budgets import BUDGETS, at_budget, deviations
from vggrepro.study.experiments import RUNS, Experiment
from vggrepro.study.store import ROOT

PACKAGE = Path(__file__).parents[1]

# --- of a chapter's runs ------------------------------------------------------------------------


def deviations_table(runs: str | Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """What each column changes against the paper, generated from the declarations.

    Of several runs, those that a chapter's trainings go through: where they differ, their values
    in order, `50 / 15 / 30`.
    """
    runs = [runs] if isinstance(runs, str) else runs
    table: dict[str, dict[str, str]] = {}
    for column in columns:
        changed = [{d.field: d for d in deviations(column.experiment(run))} for run in runs]
        for found in changed:
            for name, deviation in found.items():
                row = table.setdefault(name.replace("_", " "), {"why": deviation.why})
                papers = [_papers(run, name) for run in runs]
                row["paper"] = _in_order(papers)
                row[column.title] = _in_order(
                    one[name].ours if name in one else paper
                    for one, paper in zip(changed, papers, strict=True)
                )
    frame = pd.DataFrame.from_dict(table, orient="index")
    order = ["paper", *(c.title for c in columns), "why"]
    frame = frame.reindex(columns=order)
    # What only some photos have, as a published size, the paper cannot have had.
    frame = frame.apply(lambda row: row.fillna("–" if row["paper"] == "–" else "as the paper"), 1)
    return frame.rename_axis(columns=" / ".join(runs) if len(runs) > 1 else None)


def _papers(run: str, field: str) -> object:
    """The paper's own value for a run, as `deviations` has it."""
    declared = RUNS[run]
    return (
        round(declared.epochs * declared.length) if field == "epochs" else getattr(declared, field)
    )


def _in_order(values: Iterable[object]) -> str:
    """One value if all are the same, else all of them: `50 / 15 / 30`."""
    texts = [shown(value) for value in values]
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)


#: Values of declarations in a reader's words.
WORDS = DATA_NAMES | {
    "normal-std": "normal, std 0.01 (our reading)",
    "he": "He's rule",
    "steps": "fixed steps",
}


def shown(value: object) -> str:
    """A field of a declaration in a table."""
    if value in ("", (0, 0), ()):
        return "–"
    return f"{value:g}" if isinstance(value, float) else WORDS.get(value, str(value))


# --- declared -----------------------------------------------------------------------------

STAGES = {"scratch": "S = 256", "fine-tune": "S = 384", "jitter": "after S = 384"}


def declared_table(data_sets: Sequence[str], budget: str = "reduced") -> pd.DataFrame:
    """Field by data set: the paper's value and ours, for all runs of the study, and why.

    A field whose values differ among runs has a line for each, with the runs that it is of.
    """
    found: dict[str, dict[tuple, list[str]]] = {}
    why: dict[str, str] = {}
    for run in RUNS:
        for name, values in _differing(run, data_sets, budget, why).items():
            found.setdefault(name, {}).setdefault(values, []).append(run)
    columns = ("paper", *(DATA_NAMES[data] for data in data_sets))
    lines = [
        {
            "what": _what(name, _which(runs, name)),
            **dict(zip(columns, map(shown, values), strict=True)),
            "why": "" if place else why[name],
        }
        for name, by_values in found.items()
        for place, (values, runs) in enumerate(by_values.items())
    ]
    return pd.DataFrame(lines).set_index("what").rename_axis(index=None, columns="what")


def _what(field: str, runs: str) -> str:
    name = field.replace("_", " ")
    return name if runs == "all" else f"{name}<br>({runs})"


def _differing(
    run: str, data_sets: Sequence[str], budget: str, why: dict[str, str]
) -> dict[str, tuple]:
    """(paper, ours on each data set) by field; fills in `why`."""
    ours = [at_budget(run, budget, data) for data in data_sets]
    papers = {}
    for experiment in ours:
        for deviation in deviations(experiment):
            papers[deviation.field] = deviation.paper
            why.setdefault(deviation.field, deviation.why)
    return {name: (paper, *(getattr(e, name) for e in ours)) for name, paper in papers.items()}


def other_budgets(without: str = "reduced") -> str:
    """A sentence for each other budget and its photos: in which fields it deviates."""
    lines = []
    for budget in BUDGETS.values():
        for data in budget.data if budget.name != without else ():
            names = [d.field for run in RUNS for d in deviations(at_budget(run, budget.name, data))]
            fields = ", ".join(name.replace("_", " ") for name in dict.fromkeys(names))
            lines.append(
                f"- `{budget.name}` on {DATA_NAMES[data]}: {fields or 'in none of these'}."
            )
    return "\n".join(lines)


def _which(runs: Sequence[str], field: str) -> str:
    """Those runs in words: by stage, or by stage and length, if that tells them."""
    if len(runs) == len(RUNS):
        return "all"
    if set(runs) == {run.name for run in RUNS.values() if field not in run.keeps}:
        return "of runs not about it"
    for attribute in (_stage, _stage_and_length):
        groups: dict[str, set[str]] = {}
        for run in RUNS.values():
            groups.setdefault(attribute(run), set()).add(run.name)
        names = [name for name, members in groups.items() if members <= set(runs)]
        if set(runs) == set().union(*(groups[name] for name in names)):
            return "; ".join(names)
    return f"{len(runs)} of {len(RUNS)}" if len(runs) > 3 else ", ".join(runs)


def _stage(run: Experiment) -> str:
    return STAGES[run.stage]


def _stage_and_length(run: Experiment) -> str:
    return _stage(run) + ("" if run.length == 1 else f", {run.length:g} × as long")


# --- remarked in the source ---------------------------------------------------------------

# Only at the beginning of a comment or of a paragraph of a docstring.
MARK = re.compile(r"^\s*DEVIATION: ")


@dataclass(frozen=True)
class Remark:
    """A deviation that the code itself names: where, and its words."""

    module: str
    name: str  # of the function, class or constant around it; empty at the module's own level
    text: str


def remarks(package: Path = PACKAGE) -> list[Remark]:
    """All remarks on deviations in the modules of `package`, in the order of the source."""
    return [
        Remark(".".join(path.relative_to(package).with_suffix("").parts), _around(tree, line), text)
        for path in sorted(package.rglob("*.py"))
        for source in [path.read_text(encoding="utf-8")]
        if "DEVIATION" in source
        for tree in [ast.parse(source)]
        for line, text in sorted([*_in_comments(source), *_in_docstrings(tree)])
    ]


def _in_comments(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each remark in comments; it ends with its block or at the next one."""
    comments = {
        token.start[0]: token.string.lstrip("#")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")
    }
    for line, comment in comments.items():
        if MARK.match(comment):
            text, end = [MARK.sub("", comment)], line + 1
            while end in comments and not MARK.match(comments[end]):
                text.append(comments[end].strip())
                end += 1
            yield line, " ".join(text)


def _in_docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line of the definition's first statement, text) of each remark in docstrings."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        text = ast.get_docstring(node) if isinstance(node, kinds) else None
        for paragraph in re.split(r"\n\s*\n", text or ""):
            if MARK.match(paragraph):
                yield node.body[0].lineno, " ".join(MARK.sub("", paragraph).split())


def _around(tree: ast.Module, line: int) -> str:
    """The dotted name of what is defined around a line."""
    names: list[str] = []
    body: Sequence[ast.stmt] = tree.body
    while inside := [n for n in body if n.lineno <= line <= (n.end_lineno or n.lineno)]:
        (node,) = inside
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            names.append(ast.unparse(target))
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            break
        names.append(node.name)
        body = node.body
    return ".".join(names)


def remarks_table(found: Sequence[Remark]) -> pd.DataFrame:
    """The remarks, each linked to the chapter that shows the code around it, if one does."""
    shown_in = chapters_showing()
    lines = [{"in the code": _place(r, shown_in), "deviation": _html(r.text)} for r in found]
    return (
        pd.DataFrame(lines)
        .set_index("in the code")
        .rename_axis(None)
        .rename_axis(columns="in the code")
    )


def chapters_showing(book: Path = ROOT / "book") -> dict[tuple[str, str], str]:
    """The first page that shows the library's own code of (module, name)."""
    found: dict[tuple[str, str], str] = {}
    for script in sorted(book.glob("*.py")):
        text = script.read_text(encoding="utf-8")
        for module, name in re.findall(r'report\.source\("([\w.]+)", "([\w.]+)"\)', text):
            found.setdefault((module, name), script.stem)
    return found


def _place(remark: Remark, shown_in: Mapping[tuple[str, str], str]) -> str:
    place = f"{remark.module}.{remark.name}" if remark.name else remark.module
    page = shown_in.get((remark.module, remark.name))
    code = f"<code>{place}</code>"
    return f'<a href="{page}.html">{code}</a>' if page else code


def _html(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
