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
# # VGG: a reproducibility study

# %% tags=["remove-input"]
from IPython.display import Markdown

from vggrepro.pages import figures, others, report, summary
from vggrepro.pages.verdicts import Verdicts
from vggrepro.study import store
from vggrepro.study.others import load
from vggrepro.study.rules import one_q, three_q

figures.use_style()
found, verdicts = report.Findings(), Verdicts()
Markdown(summary.lead(verdicts, found))

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-front", "caption": "Top-1 error on CIFAR-10 of eleven layers (A) and of sixteen (D) by how they were trained. A dot is a seed, a line joins the means. Narrow nets on small photos."}}
figures.show(summary.depth_and_time(verdicts))

# %% [markdown]
# **To run it yourself**, all of it or one chapter, on drawn images; [](rerun.md) has the rest:
#
# ```bash
# make
# .venv/bin/papermill book/02_lrn.ipynb out.ipynb -p budget quick -p rerun True
# ```

# %% [markdown]
# Simonyan and Zisserman's *Very Deep Convolutional Networks for Large-Scale Image Recognition*
# {cite:p}`simonyan2015vgg` showed what depth does to a convolutional network. This book reruns its
# experiments small, one question a chapter: each number beside the paper's, each claim with a
# verdict. Rule, interval and threshold of each were fixed before its runs, but for LRN's time. Two of
# the words came when the results were known: {ref}`what was fixed when <what-was-fixed-when>`.
# [The glossary](glossary.ipynb) draws the nets and explains the words;
# [the study in brief](summary.ipynb) has method, limits and cost on one page.
#
# ## What came out

# %% tags=["remove-input"]
dense, several, crops = (
    one_q("D-jitter"),
    three_q("D-jitter"),
    three_q("D-jitter", "multi-crop"),
)
Markdown(
    f"""
{summary.primary_sentence(verdicts)} {summary.counts_sentence(store.frame())}
{summary.under_way(verdicts)}{summary.of_scale(verdicts)}

{"The first round, in words:" if verdicts.second else ""}

- **Depth**, on CIFAR-10: by the paper's way sixteen layers err
{found.lower("cifar10", "D-S256", "A-S256")} points less than eleven, but A with D's extra epochs
beats D by {found.lower("cifar10", "A-from-A", "D-S256")}. Of the paper's own nets B, with thirteen
layers, errs least ({found.error("cifar10", "B-S256")} %). The fair comparison, as long in one
go from random weights, was added when the results were known; it favours D by
{found.lower("cifar10", "D-he-long", "A-he-long")}. On Imagenette, with a fifth of the photos, depth
does not pay: {found.error("imagenette", "D-S256")} % with sixteen layers,
{found.error("imagenette", "A-S256")} % with eleven.
- **At full size:** {others.in_one_sentence(load())} [More](12_others.html).
- **Small filters** show no clear gain on CIFAR-10: two 3×3 err
{found.lower("cifar10", "B-he", "B-5x5-he")} points less than one 5×5, which three seeds do not decide,
and three 3×3 err {found.lower("cifar10", "D-7x7-he", "D-he")} more than one 7×7.
- **Scale jitter** gains {found.lower("imagenette", "D-jitter", "D-S384")} points on Imagenette; the
same extra epochs without jitter gain {found.lower("imagenette", "D-S384-longer", "D-S384")}.
- **Testing** at three scales takes {found.lower("imagenette", several, dense)} points off the error of
the jittered net on Imagenette, many crops {found.lower("imagenette", crops, several)} more. The three
trainings differ too much to decide either.
- **Nothing had converged:** twice the epochs are worth
{found.lower("cifar10", "A-he-long", "A-S256")} points to A and
{found.lower("cifar10", "D-he-long", "D-he")} to D, more than the step from one of the
paper's nets to another. Seeds move such numbers by half a point; the paper seems to report one
training for each net.

{found.basis(cifar10="D-S256", imagenette="D-jitter")}
"""
)

# %% [markdown]
# ## The claims
#
# In points of top-1 error, or in % where it says so. Positive: as the paper says; where it sees no
# change, from D to E, positive means that E errs more. The brackets hold the 95 % interval, n is the
# number of seeds, or of turns where times were measured; *inside* and *outside* say whether that
# interval holds the paper's own number. Where another interval decides, it stands below. An end has
# as many decimals as tell it from zero and from what matters. A verdict is about this scale,
# small photos and narrow nets, and never says that the paper is wrong. Primary claims are corrected
# for being several {cite:p}`holm1979simple`; the others are decided one by one, at 5 % each.

# %% tags=["remove-input"]
report.show(verdicts.board(), "words wrapped board")

# %% tags=["remove-input"]
Markdown(
    f"""{verdicts.arithmetic()}

{verdicts.not_after_holm()}

{verdicts.rounds_apart()}"""
)

# %% [markdown]
# | verdict | the interval of the difference |
# |---|---|
# | holds | lies beyond zero, as the paper says |
# | holds and matters | lies beyond the smallest difference that matters |
# | reversed by its control | lies beyond zero, and that of a control beyond zero the other way |
# | negligible | lies within plus and minus that difference |
# | contradicted | lies beyond zero, the other way |
# | not so here | the same, for a claim that this study made sharper than the paper's sentence |
# | inconclusive | says none of these |
# | too few seeds | is not read: fewer seeds than were fixed beforehand |
#
# An interval may fit two lines. *Negligible* then goes before *holds* and *contradicted*.
# Claims that one side is *no worse* or that both are *the same* read their interval by rules of
# their own, and some intervals that decide are not the 95 % interval: see [](method.ipynb).

# %% tags=["remove-input"]
Markdown(summary.words_of_second(verdicts))

# %% [markdown]
# ## Take it with you
#
# <a href="_static/records.csv" download>All records</a> and
# <a href="_static/claims.csv" download>all claims</a> as CSV. To rerun any of it, see
# [](rerun.md).

# %% tags=["remove-input"]
import yaml

cited = yaml.safe_load((store.ROOT / "CITATION.cff").read_text(encoding="utf-8"))
address = yaml.safe_load((store.ROOT / "_config.yml").read_text("utf-8"))["repository"]["url"]
Markdown(
    f"**Cite this:** {cited['authors'][0]['name']}, *{cited['title']}*, version {cited['version']}, "
    f"{store.frame().finished.max()[:10]} (the latest record). {f'{address} ' if address else ''}Licence: "
    f"{cited['license']}. `CITATION.cff` in the repository has it for reference managers."
)
