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
# # Your rerun against the recorded study
#
# Does the study come out the same on another machine? Each chapter shows a rerun in a column of its
# own. This page puts all of it side by side: which numbers moved, by more than another seed would
# move them or by less, and which verdicts that changes.

# %% tags=["parameters", "hide-input"]
budget: str = "reduced"  # of a rerun: smoke, quick, reduced, gpu or full
data: str = ""  # data set of a rerun; empty: the budget's first
seeds: int = 0  # how many seeds a rerun trains; 0: the budget's own number
rerun: bool = False  # True: show what rerun/ holds; nothing is trained for this page
data_dir: str = ""  # folder with the data set; drawn images need none
results_dir: str = ""  # folder with the rerun's records; empty: rerun/ in the checkout

# %% tags=["hide-input"]
from IPython.display import Markdown

from vggrepro.pages import figures, figures_method, report, tables_compare

options = report.options(budget, data, seeds, rerun, data_dir, results_dir)
figures.use_style()

found = tables_compare.comparison_of(options)
changes = tables_compare.changes_of(found)

# %% tags=["remove-input"]
Markdown(tables_compare.summary(found))

# %% [markdown]
# ## What may be compared
#
# Only like is compared with like: the same run and evaluation, at the same budget, on the same
# images, under the same declaration. All of that is in the records, so that nobody has to remember
# it. Anything else is listed below with what differs, and its numbers say nothing about each other.
#
# Two runs of the same seed on the same kind of processor, with the same versions, threads and
# precision, end in the same bits, and in the same **result digest**. On another machine sums are
# rounded in another order. Training magnifies that, so the same seed then ends about as far away
# as another seed would. The spread over seeds is therefore the yardstick: an interval for each
# difference is made from it, as for two nets ([](method.ipynb)). By chance one interval in twenty
# does not hold zero even if nothing differs.

# %% tags=["remove-input"]
Markdown(tables_compare.digests(found))

# %% [markdown]
# ## Which numbers moved
#
# Top-1 errors in percent, mean ± standard deviation over n seeds. The difference is rerun minus
# recorded over the seeds that both have, with its 95 % interval in brackets.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-moved", "caption": "Rerun minus recorded by centre crop and flip, for every run that both have. A dot is a seed; the bar is the mean with its 95 % interval."}, "image": {"alt": "Differences between rerun and recorded study, a line for each run, a dot for each seed, around a line at zero."}}
figures_method.moved(found)
figures.plt.show()

# %% tags=["remove-input"]
report.show(tables_compare.like_table(found), "words")

# %% [markdown]
# ## What was made in another way
#
# Drawn images, a smaller budget or a changed recipe answer another question. Each line names the
# fields of the declaration that differ, with the recorded value first.

# %% tags=["remove-input"]
report.show(tables_compare.reasons_table(found), "words wrapped")

# %% [markdown]
# Their errors by centre crop and flip stand in one table, so that a net that did not train is seen.
# Columns cannot be compared with each other.

# %% tags=["remove-input"]
report.show(tables_compare.unlike_table(found))

# %% [markdown]
# ## Which verdicts changed
#
# The same rules are applied to the records of both. A verdict of *not run* or *inconclusive* on one
# side alone usually means that it has fewer seeds, which the reason says.

# %% tags=["remove-input"]
Markdown(tables_compare.verdict_sentence(found, changes))

# %% tags=["remove-input"]
report.show(tables_compare.verdict_table(found, changes), "words wrapped leading")

# %% [markdown]
# ## How to make a rerun
#
# ```bash
# # everything, on drawn images
# make
#
# # like the recorded study, in hours; the same for one chapter
# make BUDGET=reduced DATA=cifar10 DATA_DIR=DATA
# vggrepro rerun 02_lrn --budget reduced --data cifar10 --data-dir DATA
#
# # any two folders of records, in the terminal
# vggrepro compare results rerun
# ```
#
# A rerun never touches what is recorded: its records are in `rerun/`, or where `--results-dir` says.
