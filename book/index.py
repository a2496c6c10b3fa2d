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

from vggrepro import report, verdicts

Markdown(verdicts.state_of_the_study())

# %% [markdown]
# All of it on one page, with what came out in plain words, the method, the limits and the cost:
# [](summary.ipynb).
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
