"""Differences and decisions into what a reader sees: a chapter's tables, the board of claims."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown

from vggrepro.pages.report import DATA_NAMES, Column, table_by
from vggrepro.study import programme, second_round
from vggrepro.study.claims import CLAIMS
from vggrepro.study.decisions import Decision, Study, decide_all, decide_second_round, said
from vggrepro.study.experiments import DECLARED, short_name
from vggrepro.study.rules import (
    ALPHA,
    Claim,
    Interval,
    Pooled,
    Rule,
    Side,
    Sides,
    difference,
    holm,
    paired,
    pooled,
)
from vggrepro.study.store import RECORDED

METHOD = "method.html#from-errors-to-an-interval"
"""Where each kind of interval is explained."""
SECOND = "method.html#the-second-round"
REVERSED = "reversed by its control"
HOLDS = ("holds", "holds and matters")
DIRECTED = (*HOLDS, "contradicted")
NAMES = {"welch": "Welch's t"}
"""Tests that readers know by another name than the claims."""
ALIKE = {
    "holds and matters": "holds",
    "saturates": "holds",
    "not so here": "contradicted",
}
"""Words of the two rounds that do not disagree."""


# --- one difference -------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A difference as recorded: points by seed, and the 95 % interval from two seeds on.

    A difference in which a net `stalled` has none: its error says that and no more.
    """

    by_seed: Mapping[int, float]
    interval: Interval | None
    stalled: bool = False

    @property
    def mean(self) -> float:
        """Mean over seeds, points."""
        return float(np.mean(list(self.by_seed.values())))

    def __str__(self) -> str:
        """`+0.3 [-0.1, +0.7], n = 5`; seed by seed where a net stalled: a mean would hide it."""
        if self.stalled:
            *most, last = (f"{one:+.1f}" for one in self.by_seed.values())
            return f"{', '.join(most)} and {last} by seed" if most else f"{last}, n = 1"
        if self.interval:
            return shown_interval(self.interval)
        return f"{self.mean:+.1f}, n = {len(self.by_seed)}"


def shown_interval(
    interval: Interval, unit: str = "", matters: float = 0.0, decimals: int = 1
) -> str:
    """`+0.3 [-0.1, +0.7], n = 5`: estimate and interval.

    Its ends have as many decimals as tell them from zero and from what matters.
    """
    low, high = (end(x, 0.0, matters, least=decimals) for x in (interval.low, interval.high))
    return f"{interval.estimate:+.{decimals}f}{unit} [{low}, {high}], n = {interval.n}"


def of_claim(claim: Claim, interval: Interval) -> str:
    """The same in the unit of what a claim compares: points, which are not named, nats or %."""
    if claim.metric == "log_loss":
        return in_nats(interval, claim.matters)
    return shown_interval(interval, "" if claim.about_errors else " %", claim.matters)


def in_nats(interval: Interval, matters: float = 0.0) -> str:
    """The same of a log-loss."""
    return shown_interval(interval, " nats", matters, decimals=3)


def what_matters(claim: Claim) -> str:
    """`0.5 points matter`."""
    unit = "nats" if claim.metric == "log_loss" else "points" if claim.about_errors else "%"
    one = claim.matters == 1 and unit == "points"
    return "1 point matters" if one else f"{claim.matters:g} {unit} matter"


def end(value: float, *limits: float, least: int = 1) -> str:
    """An end of an interval with one decimal, or as many as tell it from plus and minus limits."""
    near = [limit for limit in limits if limit or value]
    decimals = next(n for n in range(least, 5) if n == 4 or round(abs(value), n) not in near)
    return f"{value:+.{decimals}f}"


def test_of(claim: Claim) -> str:
    """The test that decides a claim, as readers know it."""
    return NAMES.get(claim.test, claim.test)


def inside(paper: float | None, interval: Interval | None) -> str:
    """Whether an interval holds the paper's own difference; empty where one of them is missing."""
    if paper is None or interval is None:
        return ""
    return "inside" if interval.low <= paper <= interval.high else "outside"


# --- which differences stand together -------------------------------------------------------


def controls_of(claim: Claim) -> list[tuple[str, Sides]]:
    """The claim's controls by name, the same at another length of training among them."""
    if not claim.other_length:
        return list(claim.controls)
    return [("the same at another length of training", claim.other_length), *claim.controls]


def _compared(claim: Claim) -> Iterator[tuple[Sides, str, float | None]]:
    """The claim's own sides first, then what is shown below it; with the paper's difference."""
    yield claim.sides, claim.statement, claim.paper.difference
    for name, sides in controls_of(claim):
        yield sides, f"control: {name}", None
    for name, sides in claim.rivals:
        yield sides, f"another explanation: {name}", None
    for name, sides, paper in claim.beside:
        yield sides, f"beside, decides nothing: {name}", paper.difference


def _pairs_of_second(claim: Claim) -> Iterator[tuple[str, Sides]]:
    """A claim's own sides, then the other pairs that its rules or its reader ask for."""
    yield f"{claim.statement} ({'primary' if claim.primary else 'secondary'})", claim.sides
    if claim.also:
        yield "has to hold as well", claim.also
    if claim.other_length:
        yield "has to have the same sign" if claim.primary else "beside", claim.other_length
    for sides in claim.alive:
        yield "has to be above zero: jitter changed the net", sides
    for name, sides in claim.controls:
        yield f"control: {name}", sides


# --- names ----------------------------------------------------------------------------------

CLAIMED: dict[Rule, str] = {"same": ": no change", "not worse": ": no worse"}
"""What a claim says of its sides where it is not that the error falls."""


def minus(sides: Sides, less: Sides | None = None) -> str:
    """`A − D`: a claim's second side minus its first, named by what they differ in."""
    first, second = sides
    if first.run != second.run:
        name = f"{short_name(second.run)} − {short_name(first.run)}"
    else:
        one, other = first.evaluation, second.evaluation
        differ = one.protocol != other.protocol, one.test_scales != other.test_scales
        name = f"{short_name(first.run)}: {_way(second, *differ)} − {_way(first, *differ)}"
    return name + (f", less that of {short_name(less[0].run)}" if less else "")


def _way(side: Side, protocol: bool, scales: bool) -> str:
    """A side's test in few words: its protocol, how many Q it takes, or both."""
    first, *more = side.evaluation.test_scales
    q = f"{1 + len(more)} Q" if more else f"Q = {first}"
    return ", ".join([side.evaluation.protocol] * protocol + [q] * (scales or not protocol))


def tested(sides: Sides) -> str:
    """How both sides are tested: `centre crop, Q = 256`, or each in its own way."""
    ways = []
    for side in sides:
        scales = ", ".join(map(str, side.evaluation.test_scales))
        scales = "each at its best Q" if side.or_else else f"Q = {scales}"
        ways.append(f"{side.evaluation.protocol.replace('-crop', ' crop')}, {scales}")
    first, second = ways
    return first if first == second else f"{second} against {first}"


def linked(claim: Claim) -> str:
    """The claim's statement, linked to its chapter."""
    return f'<a href="{claim.chapter}.html">{claim.statement}</a>'


def marked(word: str) -> str:
    """A verdict with its mark before it, in the colour of the figures."""
    return f'<span class="verdict {word.replace(" ", "-")}">{word}</span>'


# --- a folder of records --------------------------------------------------------------------


class Verdicts:
    """What the records of a folder say of the claims; of the second round once it is complete."""

    def __init__(self, results_dir: Path = RECORDED, budget: str = programme.BUDGET) -> None:
        self.study = Study(results_dir, budget)

    @cached_property
    def decisions(self) -> dict[str, Decision]:
        """Every claim of the first round."""
        return decide_all(self.study.results_dir, self.study.budget)

    @cached_property
    def second(self) -> dict[str, Decision]:
        """Every claim of the second round; none before it is complete."""
        if not second_round.complete(self.study.results_dir):
            return {}
        return decide_second_round(self.study.results_dir)

    @cached_property
    def _second_study(self) -> Study:
        return Study.of_second_round(self.study.results_dir)

    @cached_property
    def again(self) -> dict[str, Decision]:
        """Those of the second round that ask a claim of the first again, by its key."""
        return {d.claim.again: d for d in self.second.values()}

    def found(self, claim: Claim, data: str = "", sides: Sides | None = None) -> Found | None:
        """The difference of a claim, or of other `sides` beside it; None if not run."""
        if sides not in (None, claim.sides):
            claim = replace(claim, sides=sides, less=None)
        claim = replace(claim, data=data or claim.data)
        study = self._second_study if claim.round == "second" else self.study
        by_seed = study.differences(claim)
        if not by_seed:
            return None
        if self.idle(claim):
            return Found(by_seed, None, stalled=True)
        return Found(by_seed, study.interval(claim))

    def idle(self, claim: Claim) -> str:
        """`D-glorot at chance in seed 2`: the runs whose error says only that they stalled."""
        if not claim.about_errors or claim.round == "second":
            return ""  # there *stalled* is a word
        column, found = Column("", self.study.results_dir, self.study.budget, claim.data), []
        for run in dict.fromkeys(side.run for side in claim.sides):
            if few := [str(seed) for seed in column.at_chance(run) if seed < claim.seeds]:
                found.append(f"{run} at chance in seed {', '.join(few)}")
        return "; ".join(found)

    # --- one verdict --------------------------------------------------------------------------

    def word(self, decision: Decision) -> str:
        """The verdict's word: that of the rules, if it can be left to stand.

        What speaks against a claim that this study sharpened does not contradict the paper; and a
        difference whose own control lies beyond zero on the other side is not what was claimed.
        The words of the second round were fixed with it and stand as they are.
        """
        if decision.claim.round == "second":
            return decision.word
        if decision.word == "contradicted" and decision.claim.ours:
            return "not so here"
        reversing = any(
            one.interval and one.interval.high < 0 for _, one in self.controls_against(decision)
        )
        return REVERSED if reversing else decision.word

    def controls_against(self, decision: Decision) -> list[tuple[str, Found]]:
        """Controls, of as many seeds as were fixed, without what a claim that holds says."""
        claim = decision.claim
        least = {"not worse": -claim.matters}.get(claim.rule, 0)
        return [
            (name, one)
            for name, one in self._seeded(decision, controls_of(claim))
            if (abs(one.mean) >= claim.matters if claim.rule == "same" else one.mean <= least)
        ]

    def rivals_for(self, decision: Decision) -> list[tuple[str, Found]]:
        """Other explanations, likewise, that come out as large as a claim that holds."""
        rivals = self._seeded(decision, decision.claim.rivals)
        return [(name, one) for name, one in rivals if one.mean >= decision.difference > 0]

    def _seeded(
        self, decision: Decision, pairs: Sequence[tuple[str, Sides]]
    ) -> Iterator[tuple[str, Found]]:
        claim = decision.claim
        if decision.word in HOLDS and claim.sides:
            for name, sides in pairs:
                one = self.found(claim, sides=sides)
                if one and len(one.by_seed) >= claim.seeds:
                    yield name, one

    def here(self, decision: Decision) -> str:
        """What was found: the difference with its interval and n, – if nothing was."""
        claim = decision.claim
        if not claim.sides:
            return decision.here or f"{decision.exact:+.1f} %"
        if claim.round == "second" and not decision.interval:
            return decision.reason  # which net stalled, or why it is void
        unit = "" if claim.about_errors else " %"
        if self.idle(claim):
            return str(self.found(claim))
        if decision.word == "too few seeds" and decision.difference is not None:
            return f"{decision.difference:+.1f}{unit}, {decision.n} of {claim.seeds} seeds"
        if not decision.interval:
            return "–"
        pair = decision.pair
        against = f" (against {short_name(pair[1].run)})" if pair else ""
        return of_claim(claim, decision.interval) + against

    def but(self, decision: Decision) -> str:
        """`but not so in its control: NAME (…)`, what else speaks against the word, or nothing."""
        claim = decision.claim
        parts = [f"with {idle}"] if (idle := self.idle(claim)) else []
        parts += [
            f"but not so in its control: {name} ({one})"
            for name, one in self.controls_against(decision)
        ]
        parts += [f"but as much comes from {name} ({o})" for name, o in self.rivals_for(decision)]
        return ", ".join(parts)

    def reason(self, decision: Decision) -> str:
        """Why the rule says its word; "the first side" has a name."""
        claim, reason = decision.claim, decision.reason
        if claim.sides:
            reason = reason.replace("the first side", short_name(claim.sides[0].run))
        decided = decision.p is not None and decision.decided_by and not self.idle(claim)
        if decision.pair and decided:
            reason += f" (against {short_name(decision.pair[1].run)})"
        return reason

    def decided_by(self, decision: Decision) -> str:
        """`by the 99 % interval [-0.1, +1.9]`; empty where the 95 % one decides, or none."""
        claim, decided = decision.claim, decision.decided_by
        if decision.p is None or decided is None or not claim.sides or self.idle(claim):
            return ""
        if claim.rule == "saturates" and decision.word != "saturates":
            decided = decision.interval.at(1 - ALPHA / 2)  # the second of its two questions
        level = f"{100 * decided.confidence:.1f}".removesuffix(".0")
        if level == "95":
            return ""
        ends = ", ".join(end(one, claim.matters) for one in (decided.low, decided.high))
        return f"by the {level} % interval [{ends}]"

    def errors_of(self, decision: Decision) -> str:
        """`standard error 0.04 over seeds, 0.19 over photos`, of one net tested in two ways.

        The second is that of the mean over seeds if other photos were drawn and the same trained
        nets tested on them.
        """
        claim, interval = decision.claim, decision.interval
        if claim.test != "same weights" or not interval:
            return ""
        total = 0.0
        for side, sign in zip((*claim.sides, *(claim.less or ())), (-1, 1, 1, -1), strict=False):
            records = self.study.records(side.run, claim.data, side.evaluation)
            wrong = [~records[seed].outcomes()[0] for seed in self.found(claim).by_seed]
            total = total + sign * np.mean(wrong, axis=0)
        over_photos = 100 * np.std(total, ddof=1) / np.sqrt(len(total))
        return (
            f"standard error {interval.standard_error:.2f} over seeds, {over_photos:.2f} over "
            "photos"
        )

    # --- in a chapter -------------------------------------------------------------------------

    def box(self, *keys: str) -> Markdown:
        """The verdicts of claims, with what decided each."""
        return Markdown("\n\n".join(self._verdict(self.decisions[key]) for key in keys))

    def _verdict(self, decision: Decision) -> str:
        claim = decision.claim
        kind = ("primary; " if claim.primary else "secondary; ") if claim.sides else ""
        why = ": ".join(filter(None, (self.decided_by(decision), self.reason(decision))))
        parts = [kind + why, self.but(decision)]
        lines = [
            f"**{claim.statement}** → **{self.word(decision)}** ({', '.join(filter(None, parts))})"
        ]
        if not claim.about_errors:  # the others stand in the table of differences
            lines.append(f"- *difference:* {self.here(decision)}")
        lines.append(f"- *decided by:* {self._decided_by(decision)}")
        if photos := self.errors_of(decision):
            lines.append(f"- *{photos}*")
        first = decision.pair in (None, claim.sides)
        if (loss := decision.log_loss) and first and not self.idle(claim):
            lines.append(f"- *log-loss, decides nothing:* {in_nats(loss)}")
        return "\n".join([lines[0], "", *lines[1:], f"- *not decided:* {claim.cannot}"])

    def _decided_by(self, decision: Decision) -> str:
        claim, p = decision.claim, decision.step and decision.step.adjusted_p
        second = claim.round == "second"
        kind = f"[{test_of(claim)}]({SECOND if second else METHOD})"
        if not claim.sides:
            return f"{kind} at the paper's geometry"
        if not claim.about_errors:
            return f"{claim.seeds} rounds, {kind}; {what_matters(claim)}"
        ways = tested(claim.sides)
        ways += f", less the same of {short_name(claim.less[0].run)}" if claim.less else ""
        where = f"{DATA_NAMES[claim.data]}, {ways}, {claim.seeds} seeds, {kind}"
        where += f"; {what_matters(claim)}"
        if p is None or decision.p is None:
            return where
        return f"{where}; adjusted p {'< 0.001' if p < 0.001 else f'= {p:.2g}'}"

    def _here_and_by(self, decision: Decision, between: str = "; ") -> str:
        """What was found, and the interval that decides if it is another."""
        return between.join(filter(None, (self.here(decision), self.decided_by(decision))))

    def in_short(self, *keys: str) -> Markdown:
        """A chapter's answers in one line: each claim with its word and its difference."""
        parts = []
        for decision in (self.decisions[key] for key in keys):
            here, but = self._here_and_by(decision), self.but(decision)
            said_here = (f" ({here})" if here != "–" else "") + (f", {but}" if but else "")
            if other := self.again.get(decision.claim.key):
                said_here += f"; in the second round **{other.word}** ({self._here_and_by(other)})"
            statement = decision.claim.statement.removesuffix(".")
            parts.append(f"*{statement}*: {self.word(decision)}{said_here}.")
        return Markdown(f"**In short:** {' '.join(parts)}")

    # --- the second round in a chapter --------------------------------------------------------

    def of_second(self, chapter: str) -> list[Decision]:
        """What the second round decides of a chapter; nothing before it is complete."""
        return [d for d in self.second.values() if d.claim.chapter == chapter]

    def second_box(self, chapter: str) -> Markdown:
        """The same in full."""
        return Markdown("\n\n".join(map(self._verdict, self.of_second(chapter))))

    def second_table(self, chapter: str) -> pd.DataFrame:
        """Pair by pair of its claims: the difference as decided, and by two other analyses.

        Those decide nothing: `pooled` takes one spread for all nets of the same photos and length
        that did not stall, three or more, net and seed effects taken out; `paired` is Student's t
        over the differences by seed. Below a claim stand the other pairs that it asks for.
        """
        shown: dict[tuple[str, str], tuple[str, Claim]] = {}
        for claim in (decision.claim for decision in self.of_second(chapter)):
            for what, sides in _pairs_of_second(claim):
                one = claim if sides == claim.sides else replace(claim, sides=sides, less=None)
                how = "log-loss, nats" if claim.metric == "log_loss" else tested(sides)
                # What a claim above has asked for already is not shown twice.
                shown.setdefault((minus(sides, one.less), how), (what, one))
        names = [name for name, _ in shown]
        rows = []
        for (name, how), (what, claim) in shown.items():
            paper = "–"
            if claim == second_round.CLAIMS[claim.key] and claim.paper.difference is not None:
                found = self._of_pair(claim)
                holds_it = "" if isinstance(found, str) else inside(claim.paper.difference, found)
                paper = f"{claim.paper.difference:+.1f}<br>{holds_it}"
            of = name + (f" ({how})" if names.count(name) > 1 else "")
            rows.append({"error of": of, "claim": what, "paper": paper} | self._analyses(claim))
        table = table_by("error of", rows)
        return table.loc[:, (table != "–").any()]

    def of_pair(self, claim: Claim) -> str:
        """The difference of a claim of the second round by its test, or which net stalled."""
        found = self._of_pair(claim)
        return found if isinstance(found, str) else of_claim(claim, found)

    def _of_pair(self, claim: Claim) -> Interval | str:
        study, pairs = self._second_study, [p for p in (claim.sides, claim.less) if p]
        idle = [stalled for pair in pairs if (stalled := study.stalled(claim, pair))]
        return "; ".join(idle) or study.interval(claim)

    def _analyses(self, claim: Claim) -> dict[str, str]:
        by_test, shown = self._of_pair(claim), {"by its test": "–", "pooled": "–", "paired": "–"}
        if isinstance(by_test, str):
            return shown | {"by its test": re.sub(r" (?=stalled)|(?<=;) ", "<br>", by_test)}
        intervals = {"by its test": by_test}
        if claim.test == "welch":
            by_seed = self._second_study.differences(claim).values()
            intervals["paired"] = paired(by_seed)
            if not claim.less:
                intervals["pooled"] = difference(self._pooled(claim), by_seed)
        return shown | {
            # Nats are named in the row's head: there is little room.
            how: of_claim(claim, one).split(", n = ")[0].replace(" nats", "").replace(" [", "<br>[")
            for how, one in intervals.items()
            if one
        }

    def _pooled(self, claim: Claim) -> Pooled:
        """The spread of one training, of all nets trained and tested like a claim's first side."""
        first, seeds = claim.sides[0], self._second_study.seeds(claim)
        length = DECLARED[first.run].length
        alike = [run for run in second_round.RUNS[claim.data] if DECLARED[run].length == length]
        study = self._second_study
        found = {
            run: study.errors(replace(first, run=run), claim.data, seeds, claim.metric)
            for run in alike
            if not study.stalled(claim, (replace(first, run=run),) * 2)
        }
        tested = sum(map(bool, found.values()))
        return pooled(found if tested > 2 else {})  # of two nets it is that of the pairs

    # --- all claims ---------------------------------------------------------------------------

    def board(self, shown: Callable[[Claim], bool] = lambda claim: True) -> pd.DataFrame:
        """The claims that rest on measurements, primary ones first: verdict, difference, paper's.

        With a column for the second round once that is complete.
        """
        chosen = [
            d
            for key, d in self.decisions.items()
            if d.claim.sides
            and (shown(d.claim) or (key in self.again and shown(self.again[key].claim)))
        ]
        chosen.sort(key=lambda d: not d.claim.primary)
        return table_by("verdict", [self._row(d) for d in chosen])

    def _row(self, decision: Decision) -> dict[str, str]:
        claim, but = decision.claim, self.but(decision)
        notes = "; ".join(filter(None, (self.reason(decision), self.errors_of(decision))))
        # A phone hides what is small: the interval that decides is not.
        here = f"{self._here_and_by(decision, '<br>')}<br><small>{notes}</small>"
        row = {
            "verdict": marked(self.word(decision)),
            "claim": linked(claim) + (" (primary)" if claim.primary else ""),
            "here": here + (f"<br>{but}" if but else ""),
            "paper": self.paper(decision),
        }
        if self.second:
            other = self.again.get(claim.key)
            row["second round"] = "–"
            if other:
                here = self._here_and_by(other, "<br>").replace(" [", "<br>[", 1)
                primary = " (primary)" if other.claim.primary else ""
                cell = f"{marked(other.word)}{primary}<br>{here}"
                row["second round"] = cell.replace(" = ", "&nbsp;=&nbsp;")  # in a narrow column
        return row

    def paper(self, decision: Decision) -> str:
        """The paper's own difference and whether the interval holds it, or what it has instead."""
        claim = decision.claim
        if claim.paper.difference is None:
            return f"–<br><small>{claim.paper.where.removesuffix('.')}</small>"
        holds_it = inside(claim.paper.difference, decision.interval)
        return said(claim) + (f"<br>{holds_it}" if holds_it else "")

    def arithmetic(self) -> str:
        """The claims that no training decides, in one line."""
        # Parameters are the paper's weights: without biases.
        unit = {"parameters": " without biases"}
        parts = [
            f"{linked(d.claim).removesuffix('.')} {d.word}: {self.here(d)}{unit.get(key, '')}"
            for key, d in self.decisions.items()
            if not d.claim.sides
        ]
        return f"{len(parts)} more are arithmetic. {'; '.join(parts)}."

    def claims(self) -> pd.DataFrame:
        """Every claim of both rounds as plain values: verdict, difference, 95 % interval, p."""
        rows = [
            {
                "claim": d.claim.key,
                "statement": d.claim.statement,
                "primary": d.claim.primary,
                "data": d.claim.data if d.claim.sides else None,
                "verdict": self.word(d),
                "reason": d.reason,
                "difference": d.difference if d.exact is None else d.exact,
                "low": d.interval and d.interval.low,
                "high": d.interval and d.interval.high,
                "n": d.n or None,
                "p": None if d.claim.rule == "saturates" else d.p,  # of two questions
                # Of two pairs it is said of the first.
                "paper": d.claim.paper.difference if d.pair in (None, d.claim.sides) else None,
                "matters": d.claim.matters,
            }
            for d in (*self.decisions.values(), *self.second.values())
        ]
        return pd.DataFrame(rows)

    def rounds_apart(self) -> str:
        """Where the rounds disagree, and what differs between them; nothing before the second."""
        apart = [
            f"- {linked(one.claim)} First: {self.word(one)} ({self.here(one)}); second: "
            f"{other.word} ({self.here(other)})."
            for key, one in self.decisions.items()
            if (other := self.again.get(key))
            and self.word(one) not in ("not run", "too few seeds")
            and ALIKE.get(self.word(one), self.word(one)) != ALIKE.get(other.word, other.word)
        ]
        head = (
            f"**Claims that the two rounds call otherwise: {len(apart)}.** The first has three "
            "seeds and shorter trainings, and most of its nets start from others; the second has "
            f"five new seeds, every net from random weights, and [rules of its own]({SECOND})."
        )
        return "\n\n".join([head, "\n".join(apart)]) if self.second else ""

    def not_after_holm(self) -> str:
        """The secondary claims whose word the correction of the primary ones would take."""
        secondary = [d for d in self.decisions.values() if d.claim.sides and not d.claim.primary]
        steps = holm({d.claim.key: 1.0 if d.p is None else d.p for d in secondary})
        lost = [
            f"“{d.claim.statement.removesuffix('.')}”"
            for d in secondary
            if d.word in DIRECTED and d.p < ALPHA < steps[d.claim.key].adjusted_p
        ]
        return (
            f"Corrected like the primary ones, {len(lost)} of the {len(secondary)} secondary "
            f"claims would lose their word: {' and '.join(lost) or 'none'}."
        )


# --- differences in all columns -------------------------------------------------------------


def differences_table(*keys: str, columns: Sequence[Column]) -> pd.DataFrame:
    """Claim by column of records: difference in top-1 error (points), 95 % interval and n.

    Below each claim come its controls, the same pair at another length of training among them,
    its rivals, and what stands `beside` it. A number is bold where it decides, or is a control of
    what decides there; beside the paper's stands whether that interval holds it. The claims are
    about errors.
    """
    compared: list[tuple[Claim, Sides, str, float | None]] = []
    for claim in (CLAIMS[key] for key in keys):
        known = [sides for _, sides, _, _ in compared]  # two claims may have one rival
        compared += [
            (claim, *row)
            for row in _compared(claim)
            if row[0] not in known or row[0] == claim.sides
        ]
    names = [minus(sides, c.less if sides == c.sides else None) for c, sides, _, _ in compared]
    folders = {c.title: Verdicts(c.results_dir, c.budget) for c in columns}
    rows = []
    for (claim, sides, what, paper), name in zip(compared, names, strict=True):
        name += f" ({tested(sides)})" if names.count(name) > 1 else ""
        row = {"error of": name, "claim or control": what, "paper": "–"}
        if paper is not None:
            row["paper"] = f"{paper:+.1f}"
        for column in columns:
            found = folders[column.title].found(claim, column.data, sides)
            text = str(found or "not run").replace(", n = ", "<br>n = ")  # room on a phone
            decides = (column.results_dir, column.data) == (RECORDED, claim.data)
            if decides and found and not what.startswith("beside"):
                text = f"<b>{text}</b>"
            if decides and found and (holds_it := inside(paper, found.interval)):
                row["paper"] += f"<br>{holds_it}"
            row[column.title] = text
        rows.append(row)
    return table_by("error of", rows)
