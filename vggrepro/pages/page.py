"""A chapter: what it runs, claims and shows, so that a cell of it is one line or the one idea."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from IPython.display import HTML, Markdown, display

from vggrepro.files import expanded
from vggrepro.pages import figures, nets, report, summary
from vggrepro.pages.report import Findings
from vggrepro.pages.verdicts import Verdicts, differences_table, minus
from vggrepro.study import programme, second_round
from vggrepro.study.budgets import budget_named
from vggrepro.study.claims import CLAIMS
from vggrepro.study.experiments import FUSIONS, evaluations_of, short_name, with_needs
from vggrepro.study.records import EvalRecord, TrainRecord

Drawn = Callable[[Sequence[str], Sequence[report.Column]], Any]
"""What shows runs in columns: a table, or a figure."""
ERRORS = "Top-1 errors in percent, mean ± standard deviation over seeds"


def in_lines(name: str) -> str:
    """The name of a difference in short lines, so that beside it there is room for the numbers."""
    after = r"(?<=[:−]) |(?<=crop,) |(?<=shifted,) |(?<=that of) "
    before = r"(?<=,) (?=less |each )| (?=\(|against )"
    return re.sub(f"{after}|{before}", "<br>", name)


class Chapter:
    """The parameters, runs, claims and columns of one chapter, and what it says of them.

    `name` is that of its script, or its number: `03_depth` or `03`. The parameters are those of its
    first cell; with `rerun`, what is missing is trained first. `photos` are the recorded sets that
    it shows: else both, or Imagenette alone where that decides all its claims. Raises `UserError`
    for parameters that do not fit, `StopIteration` for a page that runs nothing.
    """

    def __init__(
        self,
        name: str,
        budget: str,
        data: str,
        seeds: int,
        rerun: bool,
        data_dir: str,
        results_dir: str,
        photos: Sequence[str] | None = None,
    ) -> None:
        self.name = next(known for known in programme.CHAPTER_RUNS if name in (known, known[:2]))
        own = report.rerun_column(budget, data, seeds, rerun, data_dir, results_dir)
        self.rerun_column = own
        self.runs = programme.CHAPTER_RUNS[self.name]
        claims = [claim for claim in CLAIMS.values() if claim.chapter == self.name]
        claims.sort(key=lambda claim: (not claim.primary, claim.sides is None))
        self.claims = tuple(claim.key for claim in claims)
        self.about_errors = tuple(claim.key for claim in claims if claim.about_errors)
        decided_on = {claim.data for claim in claims if claim.about_errors}
        only = {"imagenette"} == decided_on
        self.photos = tuple(photos or (("imagenette",) if only else programme.DATA))
        self.columns = report.recorded_columns(self.photos) + ([own] if own else [])
        self.found, self._verdicts = Findings(), Verdicts()
        figures.use_style()
        if rerun:
            from vggrepro.study import runner

            where = runner.Where(own.results_dir, expanded(data_dir) if data_dir else None)
            wanted = list(range(seeds or budget_named(budget).seeds))
            runner.run(list(self.runs), budget, own.data, wanted, where)

    # --- what it answers ----------------------------------------------------------------------

    def in_short(self) -> Markdown:
        """Each claim with its word and its difference."""
        return self._verdicts.in_short(*self.claims)

    def quotes(self, *keys: str) -> Markdown:
        """The paper's sentences, by their keys in `paper.QUOTES`."""
        return report.claim_box(*keys)

    def verdicts(self) -> Markdown:
        """The verdicts of all its claims, with what decided each."""
        return self._verdicts.box(*self.claims)

    def differences(self) -> HTML:
        """Claim and control by column: difference in top-1 error, 95 % interval and n."""
        table = differences_table(*self.about_errors, columns=self.columns)
        return report.show(table.rename(index=in_lines), "words wrapped differences")

    def agreement(self) -> Markdown:
        """Whether the two sets of photos agree."""
        claims = [CLAIMS[key] for key in self.about_errors]
        said = summary.disagreement_sentence(self._verdicts, claims)
        return Markdown(f"**Do the two sets of photos agree?** {said}")

    def elsewhere(self) -> Markdown:
        """Its differences on the recorded photos that its tables leave out."""
        claims = [CLAIMS[key] for key in self.about_errors]
        said = []
        for data in (data for data in programme.DATA if data not in self.photos):
            found = [(claim, self._verdicts.found(claim, data)) for claim in claims]
            parts = [f"{minus(claim.sides, claim.less)}: {one}" for claim, one in found if one]
            name = report.DATA_NAMES[data]
            said.append(f"On {name}, which decides nothing here: {'; '.join(parts)}.")
        return Markdown("\n\n".join(said))

    # --- the second round ---------------------------------------------------------------------

    @property
    def again(self) -> tuple[str, ...]:
        """Its runs of the second round; none before that is complete."""
        return second_round.runs_about(self.name) if self._verdicts.second else ()

    def second_errors(self, table: Drawn, what: str = ERRORS) -> None:
        """What the second round asks, and its errors by a table of runs and columns."""
        asked = (
            f"This is asked again with {second_round.UNITS} new seeds and every net from random "
            "weights; what counts was [fixed before the first run](method.html#the-second-round)."
        )
        if self.again:
            display(Markdown(f"{asked} {what}:"))
            display(report.show(self._second(table)))
        else:
            hidden = "Nothing of it is shown before its last run is recorded."
            display(Markdown(f"{asked} {hidden}"))

    def second_figure(self, drawn: Drawn, table: Drawn) -> None:
        """A figure of its runs and columns, and what it says: that of the table."""
        if self.again:
            self._second(drawn)
            cells = self._second(table).replace("<.*?>", " ", regex=True).stack()
            said = "; ".join(f"{row}, {column}: {text}" for (row, column), text in cells.items())
            figures.show(f"The second round. {said.replace('<br>', ', ')}.")

    def second_verdicts(self) -> None:
        """Its differences, by three analyses, and what they decide."""
        if self.again:
            table = self._verdicts.second_table(self.name)
            beside = {
                "pooled": "*pooled* takes one spread for all nets that were trained as long",
                "paired": "*paired* takes the differences by seed",
            }
            said = [text for how, text in beside.items() if how in table]
            decides = f" Beside it, deciding nothing: {', '.join(said)}." if said else ""
            same = any(d.claim.rule == "saturates" for d in self._verdicts.of_second(self.name))
            unchanged = f" {summary.D_MINUS_E}" if same else ""
            display(
                Markdown(
                    "The error named first less the error named second, in points, "
                    f"and its 95 % interval *by its test*.{decides}{unchanged}"
                )
            )
            display(report.show(table.rename(index=in_lines), "words wrapped differences"))
            display(self._verdicts.second_box(self.name))

    def _second(self, drawn: Drawn) -> Any:
        data = next(data for data, runs in second_round.RUNS.items() if self.again[0] in runs)
        column = report.second_column(data, self._verdicts.study.results_dir)
        return drawn(self.again, [column])

    # --- what it shows ------------------------------------------------------------------------

    def source(self, module: str, name: str) -> Markdown:
        """The library's own code of a function, class or constant."""
        return report.source(module, name)

    def dots(self, *runs: str) -> None:
        """Top-1 error by centre crop and flip: a dot for each seed, a panel for each column."""
        figures.dots(runs, self.columns)
        figures.show(self.in_words(runs))

    def curves(self, *runs: str) -> None:
        """Error by epoch on minival and on training images, a panel for each column."""
        figures.curves(runs, self.columns)
        what = "Learning curves. Last error on training images in percent"
        figures.show(self.in_words(runs, what, self.found.train_error))

    def still_moved(self, *runs: str) -> Markdown:
        """By how much the error on minival still moved at the end of training, in points."""
        said = []
        for column in report.recorded_columns(self.photos):
            moved = {short_name(run): figures.moved(column, run) for run in runs}
            if len(runs) == 2:
                first, second = moved.values()
                moved["their difference"] = first - second
            named = ", ".join(f"{name} {points:+.2f}" for name, points in moved.items())
            said.append(f"{column.title} {named}")
        depends = " So much the comparison depends on where both stop." if len(runs) == 2 else ""
        return Markdown(
            "Over the last fifth of the epochs the error on minival moved, in points: "
            f"{'; '.join(said)}.{depends}"
        )

    def in_words(
        self,
        runs: Sequence[str],
        what: str = "Top-1 error in percent by centre crop, means over seeds",
        of: Callable[[str, str], str] | None = None,
    ) -> str:
        """A figure of these runs for those who do not see it: `of` them in the recorded study."""
        of = of or self.found.error
        shown = [
            f"{report.DATA_NAMES[data]}: "
            + ", ".join(f"{short_name(run)} {of(data, run)}" for run in runs)
            for data in self.photos
        ]
        return f"{what}. {'; '.join(shown)}."

    def fit(self) -> HTML:
        """Errors on training images and on minival after the last epoch."""
        return report.show(nets.fit_table(self.runs, self.columns))

    # --- where it is from, and how to make it again -------------------------------------------

    def trainings(self, *runs: str) -> HTML:
        """Every training that it shows, a line each; of these runs instead of all if given."""
        runs = runs or (*self.runs, *self.again)
        return report.show(report.provenance_table(self.columns, runs), "words")

    def rerun(self) -> Markdown:
        """What the recorded runs took, and the commands that make exactly them again."""
        needed, commands = {}, []
        for column in report.recorded_columns(self.photos):
            by_seeds: dict[tuple[int, ...], list[str]] = {}
            for run in (*self.runs, *self.again):
                records = _recorded(column, run)
                for task, wanted in with_needs((run, record.seed) for record in records):
                    made = column.trainings(task).get(wanted)
                    needed |= {(column.data, task, wanted): made} if made else {}
                if records:
                    by_seeds.setdefault(tuple(record.seed for record in records), []).append(run)
            commands += [_command(runs, column, seeds) for seeds, runs in by_seeds.items()]
        made = [record.provenance for record in needed.values()]
        hours = sum(one.wall_seconds * one.threads for one in made) / 3600
        papermill = f"papermill book/{self.name}.ipynb out.ipynb"
        return Markdown(
            f"**{len(made)} trainings, {hours:.1f} core-hours,** with all that these start from or "
            "fuse. In the environment of `make` ([how](rerun.html)):\n\n```bash\n"
            f"# on a laptop, on drawn images\n{papermill} -p budget quick -p rerun True\n\n"
            f"# on a GPU, at the paper's width and crop\n{papermill} -p budget gpu -p rerun True "
            "-p data imagenette -p data_dir DATA\n\n"
            "# exactly the runs and seeds of this page; --download fetches the photos into DATA\n"
            + "\n".join(commands)
            + "\n```"
        )


def _command(runs: Sequence[str], column: report.Column, seeds: tuple[int, ...]) -> str:
    """What makes these runs with these seeds."""
    command = (
        f"vggrepro run {' '.join(runs)} --budget {column.budget} --data {column.data} "
        "--data-dir DATA"
    )
    if seeds == tuple(range(len(seeds))):
        return f"{command} --seeds {len(seeds)}"
    if len(seeds) == 1:
        return f"{command} --seed {seeds[0]}"
    return f"for seed in {' '.join(map(str, seeds))}; do {command} --seed $seed; done"


def _recorded(column: report.Column, run: str) -> list[TrainRecord | EvalRecord]:
    """The trainings of a run by seed; of a fusion, which trains nothing, its first evaluation."""
    fused = run in FUSIONS
    found = column.evaluations(run, evaluations_of(run)[0]) if fused else column.trainings(run)
    return list(found.values())
