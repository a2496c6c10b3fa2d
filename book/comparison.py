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

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters of a rerun", "code_prompt_hide": "Parameters of a rerun"}
budget: str = "reduced"  # of a rerun: smoke, quick, reduced, gpu or full
data: str = ""  # data set of a rerun; empty: the budget's first
seeds: int = 0  # how many seeds a rerun trains; 0: the budget's own number
rerun: bool = False  # True: show what rerun/ holds; nothing is trained for this page
data_dir: str = ""  # folder with the data set; drawn images need none
results_dir: str = ""  # folder with the rerun's records; empty: rerun/ in the checkout

# %% tags=["remove-input"]
from IPython.display import Markdown, display

from vggrepro.pages import comparison, figures, report

figures.use_style()
shown = report.rerun_column(budget, data, seeds, rerun, data_dir, results_dir)
found = comparison.comparison_of(shown)
changes = comparison.verdict_changes(*found.folders) if found else {}
Markdown(
    f"The recorded study holds {comparison.held(found.first)}; your rerun holds "
    f"{comparison.held(found.second)}. {comparison.alike(found)} {comparison.digests(found)}"
    if found
    else "**There is no rerun here yet.** `make` reruns the study on drawn images, and this page "
    "then shows the two side by side; the last section has other ways."
)

# %% [markdown]
# ## What may be compared
#
# Only like is compared with like: the same run and evaluation, at the same budget, on the same
# images, under the same declaration. All of that is in the records, so that nobody has to remember
# it. Anything else is listed with what differs, and its numbers say nothing about each other.
#
# Two runs of the same seed on the same kind of processor, with the same versions, threads and
# precision, end in the same bits, and in the same **result digest**. On another machine sums are
# rounded in another order. Training magnifies that, so the same seed then ends about as far away
# as another seed would. The spread over seeds is therefore the yardstick: an interval for each
# difference is made from it, as for two nets ([](method.ipynb)). By chance one interval in twenty
# does not hold zero even if nothing differs.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-moved", "caption": "Rerun minus recorded by centre crop and flip, for every run that both have. A dot is a seed; the bar is the mean with its 95 % interval."}, "image": {"alt": "Differences between rerun and recorded study, a line for each run, a dot for each seed, around a line at zero."}}
if found and found.like:
    comparison.moved(found)
    figures.plt.show()

# %% tags=["remove-input"]
if found:
    display(
        Markdown(
            "**Which numbers moved.** Top-1 errors in percent, mean ± standard deviation over n "
            "seeds; the difference is rerun minus recorded, with its 95 % interval."
        ),
        report.show(comparison.like_table(found), "words"),
        Markdown(
            "**What was made in another way**, with the fields of the declaration that differ, the "
            "recorded value first; and its errors, so that a net that did not train is seen."
        ),
        report.show(comparison.reasons_table(found), "words wrapped"),
        report.show(comparison.unlike_table(found)),
        Markdown(f"**Which verdicts changed.** {comparison.verdict_sentence(found, changes)}"),
        report.show(comparison.verdict_table(changes), "words wrapped leading"),
    )

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
