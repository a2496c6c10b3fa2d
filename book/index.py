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
#
# Simonyan and Zisserman's *Very Deep Convolutional Networks for Large-Scale Image Recognition*
# {cite:p}`simonyan2015vgg` showed what depth does to a convolutional network. This book reruns the
# paper's experiments, one question a chapter: each number beside the paper's, each claim with a
# verdict whose rule was fixed before the runs, and each chapter open to be rerun by anyone.

# %% tags=["remove-input"]
from IPython.display import Markdown

from vggrepro.pages import reading, report, verdicts
from vggrepro.study.rules import one_q, three_q

Markdown(verdicts.state_of_the_study())

# %% [markdown]
# ```{figure} assets/result.png
# :name: fig-front
# :width: 520px
# :alt: Top-1 error against the number of weight layers: the paper's, and ours on two sets of photos, a dot for each seed.
#
# The paper's main claim beside ours: top-1 error against depth, a dot for each seed. What of it is
# depth, and what is longer training? [](03_depth.ipynb) takes the two apart.
# ```
#
# ## What came out

# %% tags=["remove-input"]
found = reading.Findings()
dense, several, crops = (
    one_q("D-jitter"),
    three_q("D-jitter"),
    three_q("D-jitter", "multi-crop"),
)
Markdown(
    f"""
- **Depth**, on CIFAR-10: sixteen layers err less than eleven, by
{found.lower("cifar10", "D-S256", "A-S256")} points. But the deep net starts from a trained shallow
one, and a shallow net with as much extra training errs less still, by
{found.lower("cifar10", "A-from-A", "D-S256")}. On Imagenette, with a fifth of the photos, sixteen
layers err more, by {found.lower("imagenette", "A-S256", "D-S256")}.
- **Time** is what the deep net wants: from random weights and as long in one go, sixteen layers are
{found.lower("cifar10", "D-he-long", "D-S256")} points better on CIFAR-10 than by the paper's way, and
beat eleven layers trained alike by {found.lower("cifar10", "D-he-long", "A-he-long")}.
- **Small filters** show no clear gain on CIFAR-10: two 3×3 err
{found.lower("cifar10", "B-he", "B-5x5-he")} points less than one 5×5, which three seeds do not decide,
and three 3×3 err {found.lower("cifar10", "D-7x7-he", "D-he")} more than one 7×7.
- **Scale jitter** gains {found.lower("imagenette", "D-jitter", "D-S384")} points on Imagenette, and
going on without it for as long {found.lower("imagenette", "D-S384-longer", "D-S384")}.
- **Testing** at three scales takes {found.lower("imagenette", several, dense)} points off the error of
the jittered net on Imagenette, many crops {found.lower("imagenette", crops, several)} more. The three
trainings differ too much to decide either.
- **Seeds** move such numbers by half a point and more. The paper seems to report one training for
each net.

{found.basis(cifar10="D-S256", imagenette="D-jitter")}
"""
)

# %% [markdown]
# All of it on one page, with the method, the limits and the cost: [](summary.ipynb).
#
# ## The claims
#
# Differences are in points of top-1 error, or in % where it says so: how much lower it is on the
# side that the paper puts first. The brackets hold the 95 % interval, n is the number of seeds, or
# of turns where times were measured. A verdict says whether a
# claim holds *at this scale*, on small photos and narrow nets; never that the paper is wrong.
# Primary claims are corrected for being several (Holm {cite:p}`holm1979simple`); the others are
# decided one by one, at 5 % each.

# %% tags=["remove-input"]
report.show(verdicts.marked(verdicts.scoreboard()), "words wrapped board")

# %% [markdown]
# ## The chapters

# %% tags=["remove-input"]
verdicts.chapter_index()

# %% [markdown]
# To rerun any of them, see [](rerun.md).
#
# ## How to read it
#
# **Recorded** columns come from records in the repository, made by committed code on real photos:
# CIFAR-10 {cite:p}`krizhevsky2009cifar` for claims about the nets, Imagenette
# {cite:p}`howard2019imagenette` for claims about scale and testing. **Rerun** columns come from a
# reader's own machine.
#
# - **Reduced**: a quarter of the channels, crops of 32 px on CIFAR-10 and of 64 px on Imagenette.
# - **Pilot**: trained before the [recipe](recipe.ipynb) was frozen; it helped to plan and decides
#   nothing.
# - **Minival**: a tenth of the training images, held out to watch and tune a training by. Errors are
#   reported on *val*.
#
# | verdict | the interval of the difference |
# |---|---|
# | holds | lies beyond zero, as the paper says |
# | holds and matters | lies beyond the smallest difference that matters |
# | negligible | lies within plus and minus that difference |
# | contradicted | lies beyond zero, the other way |
# | inconclusive | says none of these |
# | too few seeds | is not read: fewer seeds than were fixed beforehand |
# | not run | there is no record that may decide |
#
# An interval beyond zero that is also inside plus and minus the smallest difference is *negligible*.
# Claims that one side is *no worse* or that both are *the same* read their interval by rules of
# their own, and some intervals that decide are not the 95 % interval: see [](method.ipynb).
