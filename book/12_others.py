# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Other people's retrainings
#
# Does depth do at full size what the paper says, when other people train its nets?

# %% tags=["parameters", "remove-input"]
retrainings: str = ""  # file of published errors; empty: results/others/retrainings.csv

# %% tags=["remove-input"]
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from vggrepro.pages import figures, report
from vggrepro.pages import others as page
from vggrepro.study import others, paper

figures.use_style()
rows = others.load(Path(retrainings) if retrainings else others.PUBLISHED)
number = page.number

Markdown(f"**{page.finding(rows)}**")

# %% [markdown]
# The nets of this book are small, because nobody here can train on ILSVRC-2012. Others have trained
# the paper's columns on it from random weights, and published what came out. This chapter collects
# their numbers.
#
# It is another kind of evidence than the rest of the book. The rule for what counts was written
# after a first look at the numbers, which had shown that there was something to find. So nothing
# here is a verdict, and no verdict rests on it.
#
# ## What was collected

# %% tags=["remove-input"]
checked = [row for row in rows if row.checked]
corrected = [row for row in checked if row.corrected]
compared = others.taking_part(rows)
Markdown(
    f"{len(rows)} published errors, each with an address that a reader can open. "
    f"{len(checked)} of them were compared with it on {max(row.checked for row in checked)}: "
    f"{len(checked) - len(corrected)} held, {len(corrected)} had to be corrected. Most are tests of "
    "weights that were passed on, or other nets. What counts for depth are "
    f"{len(compared)} trainings by {len({row.family for row in compared})} families."
)

# %% [markdown]
# - **A family** is a lab and its code. Differences are taken within a family only, because another
#   way to resize images alone moves a net's error. Several series by one recipe are averaged. Of
#   two generations the later one counts.
# - **Independent** is a net trained from random weights. A log, a sentence of the source, an
#   architecture that no other weights fit, or at least one word in a table has to show it. Weights
#   that were converted and tested again are never counted twice.
# - **Left out** of the mean are trainings of less than half the paper's length, nets that were
#   changed, and single nets without a partner of the same recipe. What is doubtful counts in a
#   second analysis only.
#
# The file is `results/others/retrainings.csv`. The README beside it has the whole rule, its
# columns, and how a training is added.
#
# ## Depth, family by family

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-others", "caption": "Differences in top-1 error within families that trained both nets on ILSVRC-2012, one crop each. A hollow dot: one word in a table is all that shows that the net was trained there. Thick line: 95 % interval of the mean. Thin line: where one more family of this kind would lie. Diamonds: the paper's Table 3, dense evaluation at S = 256, and with scale jitter, which has no A and B."}, "image": {"alt": "Forest plot. From 11 to 13 and from 13 to 16 layers the paper's diamonds lie within the interval of the mean of the families; from 16 to 19 layers all families lie on the side of fewer errors, and the paper's diamond on the other."}}
page.forest(rows)
figures.plt.show()

# %% [markdown]
# ## The nets
#
# Top-1 error in percent on the 50,000 validation images. Each number leads to its source. “Earlier”
# and “faulty page” count in the wide analysis only.

# %% tags=["remove-input"]
report.show(page.trainings_table(rows), "words")

# %% [markdown]
# ## The mean over families
#
# No source says how much its nets would differ if they were trained again. So a family is one
# number, all families weigh alike, and the spread between them gives the intervals: Student's *t*
# for the mean, and a wider one for where one more family would lie.

# %% tags=["remove-input"]
report.show(page.means_table(rows), "words")

# %% [markdown]
# Points of top-1 error; in parentheses the number of families, in brackets the 95 % intervals.
# *Leaving one out*: the lowest and the highest mean without one of the families. *Strict*: without
# families that only a word vouches for. *Wide*: with earlier generations and faulty pages.

# %% tags=["remove-input"]
inside, outside = [], []
for pair in others.DIFFERENCES:
    low, high = page.mean_of(rows, *pair).interval
    (inside if low <= page.paper_difference(*pair) <= high else outside).append(page.minus(*pair))
by_family = others.differences(rows, "D", "E")
highest = max(page.paper_difference("D", "E", scale) for scale in (page.FIXED, page.JITTER))
excluded = sum(found.interval[0] > highest for found in others.leave_one_out(by_family).values())
above = "still lies" if excluded == len(by_family) else f"lies in {excluded} cases"
again = {
    net: [row.top1_error for row in rows if (row.family, row.net) == ("MindCV", net)]
    for net in "BE"
}
spread = {net: number(max(errors) - min(errors), 2) for net, errors in again.items()}
Markdown(
    f"The interval of the mean holds the paper's difference for {', '.join(inside)}. It does not "
    f"for {', '.join(outside)}: leave out any one family, and the interval of "
    f"{page.minus('D', 'E')} {above} above both of the paper's numbers. Chance from one training to "
    f"the next is small where it can be seen: MindCV trained B and E {len(again['E'])} times, and "
    f"the errors of its B lie within {spread['B']} points, those of its E within {spread['E']}."
)

# %% [markdown]
# ## With batch normalisation
#
# Nets with batch normalisation are not the paper's, so they stand beside the plain ones. The gain
# from sixteen to nineteen layers is there too, and so it is in top-5 error.

# %% tags=["remove-input"]
report.show(page.norms_table(rows), "words")

# %% [markdown]
# Points of error, number of families, 95 % intervals.
#
# ## The authors' own weights
#
# The authors published one D and one E, both trained with scale jitter. Many people have tested
# these two.

# %% tags=["remove-input"]
tested = list(page.tested_together(rows, "the authors").values())
Markdown(
    f"{len(tested)} sources tested both by one crop. On average E errs "
    f"{number(abs(sum(tested) / len(tested)), 2)} points "
    f"{'more' if sum(tested) < 0 else 'less'} than D ({page.minus('D', 'E')} from {number(min(tested))} to "
    f"{number(max(tested))}). So the authors' two nets tie in everybody's hands, as they do in the "
    "paper. It is not other people's tests that favour nineteen layers; it is their trainings."
)

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-authors-weights", "caption": "The same two nets, the authors' D and E, in the tests of others: a dot for each published error, by the way of testing."}, "image": {"alt": "Dots for the published errors of the authors' D and E. Dense tests and ten crops give the lowest errors, one crop errors around 29 %, and a square resize by nearest neighbour the highest."}}
page.same_weights(rows)
figures.plt.show()

# %% [markdown]
# ## What a way of testing moves
#
# Each line is one set of weights, tested in two ways. Each error leads to its source.


# %% tags=["remove-input"]
def one(weights: str, protocol: str, source: str = "") -> others.Row:
    """The one row of these weights whose protocol and source contain these words."""
    of_these = (row for row in rows if row.weights == weights and source in row.source)
    return next(row for row in of_these if protocol in row.protocol)


def signed(change: float) -> str:
    """Points with their sign."""
    return number(change) if change < 0 else f"+{number(change)}"


def changes(lines: dict[str, tuple[others.Row, others.Row]]) -> pd.DataFrame:
    """A line for each pair of errors, both linked to their sources, and what lies between them."""
    cells = {
        what: (page.linked(one), page.linked(other), signed(other.top1_error - one.top1_error))
        for what, (one, other) in lines.items()
    }
    return pd.DataFrame.from_dict(cells, orient="index", columns=["from, %", "to, %", "points"])


trzy, authors, paddle = "trzy/S = 256/D", "the authors/jitter/D", "PaddlePaddle/2018-12/D"
square = "short side 256, cubic → square 224, nearest neighbour (the authors' D)"
tests = {
    "one crop → dense with flip (D by trzy)": (one(trzy, "centre crop"), one(trzy, "dense")),
    "one crop → ten crops (the authors' D)": (
        one(authors, "centre crop (OpenCV)"),
        one(authors, "ten crops (OpenCV)"),
    ),
    "Pillow → OpenCV (D by PaddlePaddle)": (
        one(paddle, "Pillow"),
        one(paddle, "(OpenCV), April 2019"),
    ),
    square: (one(authors, "cubic", "tensornets"), one(authors, "nearest neighbour")),
}
report.show(changes(tests), "words leading")

# %% [markdown]
# ## Single claims
#
# Others also tried what further chapters of this book ask. Each line is one study, mostly of
# another net than the paper's, without a spread.

# %% tags=["remove-input"]


def made(family: str, variant: str) -> others.Row:
    """The row of a net that a study made, by its variant."""
    return next(row for row in rows if (row.family, row.variant) == (family, variant))


def in_paper(before: dict, after: dict) -> str:
    """The paper's change in points between two cells of Table 3."""
    return signed(paper.value(3, **after) - paper.value(3, **before))


jitter, on = "Scale jitter after S = 384, dense, Q = 384 (D by trzy)", "(CaffeNet, 128 px)"
jittered = made("trzy", "S = 384"), one("trzy/jitter/D S in [256;512]", "Q = 384")
mishkin = {
    f"Scale jitter on a fixed schedule {on}": ("without LRN", "with scale jitter"),
    f"LRN {on}": ("without LRN", "with LRN"),
    f"1×1 → 3×3, one after the first layer {on}": ("one 1×1 more", "one 3×3 more"),
    f"1×1 → 3×3, three after the first layer {on}": ("three 1×1 more", "three 3×3 more"),
    f"1×1 → 3×3, five after the first layer {on}": ("five 1×1 more", "five 3×3 more"),
    f"One 5×5 → 1×5 and 5×1 {on}": (
        "5×5, short schedule",
        "5×5 as 1×5 and 5×1, short schedule",
    ),
}
msra = {
    "Glorot → He, 14 layers (MSRA)": ("14 layers, Glorot", "14 layers, He"),
    "14 → 30 layers, He; with Glorot 30 did not train (MSRA)": ("14 layers, He", "30 layers, He"),
    "18 → 34 plain layers, batch normalisation (MSRA)": ("18 plain layers", "34 plain layers"),
}
studies = {"Mishkin": mishkin, "MSRA": msra}
lines = {jitter: jittered} | {
    what: tuple(made(family, variant) for variant in variants)
    for family, of_family in studies.items()
    for what, variants in of_family.items()
}
d = {scale: {"net": "D", "train_scale": scale} for scale in (256, 384, page.JITTER)}
asked = {
    jitter: in_paper(d[384], d[page.JITTER]),
    f"LRN {on}": in_paper({"net": "A"}, {"net": "A-LRN"}),
    f"1×1 → 3×3, three after the first layer {on}": in_paper({**d[256], "net": "C"}, d[256]),
}
report.show(changes(lines).assign(paper=[asked.get(what, "–") for what in lines]), "words leading")

# %% tags=["remove-input"]
near = (one("trzy/S = 256/D", "dense"), *jittered)
in_paper = [paper.value(3, net="D", train_scale=s) for s in (256, 384, page.JITTER)]
short = next(row for row in rows if row.net == "C")
Markdown(
    "*Paper*: its change in Table 3, where it asks the same; three layers of C are 1×1 where D has "
    "3×3. The training nearest to the paper's recipe is trzy's D. At S = 256, at S = 384 and with "
    f"jitter it errs {', '.join(number(row.top1_error) for row in near)} %; the paper's D errs "
    f"{', '.join(map(number, in_paper))} %. Nobody that we found has trained C to the end: the one "
    f"C here stopped after {short.epochs} epochs, with its A, B, D and E, and none of these five "
    "counts."
)

# %% [markdown]
# ## What it means, and what it cannot tell

# %% tags=["remove-input"]
least = min(by_family, key=by_family.get)
lasted = {row.net: row.epochs for row in compared if row.family == "PaddlePaddle"}
Markdown(
    f"""
**Up to sixteen layers the paper's gain from depth has been found again, in its size,** by people
with other code, other schedules and another way to start a net. **That it ends at sixteen has
not.** Nothing here shows a number of the paper to be wrong: its D and E are two trainings by one
recipe, and in other people's tests the authors' two nets do tie.

- **The recipe may be the reason.** No family whose recipe is known trains as the paper did. They
crop windows of random size and shape, start every net from random weights, and train for
{min(row.epochs for row in compared if row.epochs)} to
{max(row.epochs for row in compared if row.epochs)} epochs; the paper trained for {others.PAPER_EPOCHS} and started E
from a trained A. Which of these a nineteenth layer needs, the numbers do not say.
- **{len(by_family)} families are few,** and no sample of anything: they are what was found. Labs copy
each other's recipes.
- **PaddlePaddle's recipe differs by depth:** its E trained for {lasted["E"]} epochs, its D
for {lasted["D"]}. The least {page.minus("D", "E")} of the {len(by_family)} is that of {least}, {number(by_family[least], 2)}.
- **Published weights are often the best epoch on the validation images.** That makes errors a
little too low, and perhaps not alike for all depths.
- **Whoever could not train E may not have published it.** Labs whose nineteen layers were worse can
be missing.
- **nnabla has no E, and its D is out of line** with the other five. Its recipe is not known.
"""
)

# %% [markdown]
# Our own nets are in [](03_depth.ipynb): small, on few photos, and with controls for time that none
# of these sources has.
