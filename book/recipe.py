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
# # The recipe
#
# Epochs, learning rate, batch and dropout decide what a small study says about depth: a recipe that
# suits eleven layers leaves nineteen unfinished. So there is one recipe for each set of photos, for
# all nets. It was **confirmed, not chosen,** by a calibration on images that no error in this book
# is reported on: both recipes were frozen before the last nets of the candidate that won had been
# trained (CIFAR-10's at 06:52 on 23 November 2026, commit `c74b9dc`; its D ended at 06:59). And the
# starting point came from trial runs that had looked at `val`.

# %% tags=["remove-input"]
from IPython.display import Markdown

from vggrepro.pages import figures, method, report
from vggrepro.study import programme, store

figures.use_style()
DATA = ("cifar10", "imagenette")

# %% [markdown]
# ## How candidates were compared
#
# A tenth of the training images, *minival*, is never trained on. Each candidate changes one thing of
# the recipe that the study began with, or two that had helped alone. It trains A from random weights, and D
# and E from that A. Its worst net after the last epoch is what it counts by; the smallest of those
# wins. A candidate with one net worse than the winner's worst has lost, and its other nets need not
# be trained. The candidate that changes two things was added after the others had been seen. None is ever
# tested on `val`. The recipe that the study began with came from trial runs that did look at `val`:
# that is one more reason why it decides nothing, and why records made with it are called *pilots*.

# %% tags=["remove-input"]
report.source("study.programme", "best")

# %% [markdown]
# ## What was found

# %% tags=["remove-input"]
CIFAR10, IMAGENETTE = (programme.candidates(store.RECORDED, data) for data in DATA)
FROZEN = [programme.frozen(store.RECORDED, data) for data in DATA]
Markdown(f"**CIFAR-10.** {method.candidates_sentence(CIFAR10)}")

# %% tags=["remove-input"]
report.show(method.candidates_table(CIFAR10, *FROZEN[:1]), "numbers leading")

# %% tags=["remove-input"]
Markdown(f"**Imagenette.** {method.candidates_sentence(IMAGENETTE)}")

# %% tags=["remove-input"]
report.show(method.candidates_table(IMAGENETTE, *FROZEN[1:]), "numbers leading")

# %% [markdown]
# Error on minival by centre crop and flip after the last epoch, percent, and in brackets on as many
# training images: a net whose two errors are close together and high has not been trained long
# enough, one whose errors lie far apart fits its training images too closely. What was frozen is
# each winner trained for longer, by as much as the hours of the whole study allowed; its own
# trainings, means over their seeds, are the last line.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-calibration", "caption": "Error on minival (full lines) and on training images in eval mode (dashed) by epoch, with the recipe that was frozen: the study's own trainings. A curve that still falls at its end is that of a net cut short."}, "image": {"alt": "Learning curves of A, D and E, a panel for each data set. On CIFAR-10 minival's error of D ends lowest and A's highest; on Imagenette the three end within a point."}}
figures.curves(programme.CALIBRATED, report.recorded_columns())
figures.plt.show()

# %% [markdown]
# ## To try another
#
# A candidate is a budget of its own, and its records lie beside the study's:
#
# ```bash
# vggrepro run A-S256 D-S256 E-S256 --budget calibrate-rate --data cifar10 --data-dir DATA --results-dir results
# ```
