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
# # What it costs: time, memory, and machines
#
# What does it take to train and test these nets, here and at the paper's size? The paper needed
# weeks for one net. This chapter counts the work, shows what was measured of it, says how fast this
# library is beside the usual way of writing the same thing, and plans what has not been run.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters of a rerun", "code_prompt_hide": "Parameters of a rerun"}
budget: str = "reduced"  # of a rerun: smoke, quick, reduced, gpu or full
data: str = ""  # data set of a rerun; empty: the budget's first
seeds: int = 0  # how many seeds a rerun trains; 0: the budget's own number
rerun: bool = False  # True: train what is missing, then show it beside the recorded study
data_dir: str = ""  # folder with the data set; drawn images need none
results_dir: str = ""  # folder with the rerun's records; empty: rerun/ in the checkout

# %% tags=["remove-input"]
from IPython.display import Markdown

from vggrepro.bench import planner
from vggrepro.pages import costs, figures, report
from vggrepro.pages.page import Chapter
from vggrepro.study import store

chapter = Chapter("11", budget, data, seeds, rerun, data_dir, results_dir)
bench = costs.bench_of(chapter.rerun_column)
trained = planner.recorded(store.RECORDED)

# %% [markdown]
# ## What the paper says

# %% tags=["remove-input"]
chapter.quotes("training-time", "speedup", "crops-not-justified")

# %% [markdown]
# ## What the paper did, and what we changed
#
# The paper trains on four GPUs with a modified Caffe and names weeks, not hours. The recorded study
# uses processors, narrow nets and small photos. So no time here can stand beside a time there. What
# can be compared is work: multiply-adds, and bytes kept for the backward pass. Both follow from
# Table 1 by arithmetic, at any size.
#
# ## The idea
#
# A machine is noisy: another program, a warm processor, a slow disk. Two times taken minutes apart
# say little. So whatever is compared takes turns, many times, and only ratios within a turn count.

# %% tags=["remove-input"]
chapter.source("bench.turns", "take_turns")

# %% [markdown]
# Work is counted from the layers. The backward pass takes every layer twice, for the gradients of
# its weights and of its input; the images alone need none.

# %% tags=["remove-input"]
chapter.source("study.workload", "training_step")

# %% [markdown]
# ## What a net costs
#
# One training step, for one image. *GMAC* are thousand million multiply-adds, forward and backward;
# *kept* is what the forward pass leaves in memory for the backward pass. The paper's size is 224 px
# at full width, ours is the `reduced` budget on Imagenette.

# %% tags=["remove-input"]
report.show(costs.nets_table(bench))

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-costs-nets", "caption": "Time of a training step (a dot for each turn) and memory kept for the backward pass, for one image, against its multiply-adds. Measured at 64 px and a quarter of the width, the nets taking turns."}, "image": {"alt": "Two panels: milliseconds and kilobytes for one image against multiply-adds, a point for each of the nets A, A-LRN, B, C, D and E."}}
costs.nets(bench)
figures.plt.show()

# %% [markdown]
# A-LRN has as many multiply-adds as A and takes longer all the same: they leave out what passes
# through memory ([by how much](02_lrn.ipynb#what-it-costs)). Early layers have few channels and
# large maps: there a machine waits for memory, not for arithmetic. Whole trainings, as they were
# recorded, with the evaluation after each epoch. The memory is the most that a process held, the
# memory-mapped photos included, which the system may take back at any time. Seeds ran on two kinds
# of processor, with other work beside them: the turns above compare nets, not these rows.

# %% tags=["remove-input"]
report.show(costs.trainings_table(chapter.columns))

# %% [markdown]
# ## How fast it is, against what
#
# The other side is the usual way of writing the same training and testing with torchvision. It
# reads each JPEG file whenever it needs it. This library reads a photo once, keeps the pixels, and
# cuts each crop with one resize; it computes in bfloat16 where the processor has the instructions,
# lays tensors out channels-last, and tests many images at once. The first pass is off the clock on
# both sides. Decoding has a row of its own.

# %% tags=["remove-input"]
report.show(costs.speed_table(bench), "words wrapped")

# %% tags=["remove-input"]
ran, at = bench.provenance, bench.settings
Markdown(
    f"Measured on {report.DATA_NAMES.get(at['data'], at['data'])} in "
    f"{ran.wall_seconds / 60:.1f} minutes, on {ran.processor}, {ran.threads} threads, "
    f"{at['precision']}, torch {ran.versions['torch']}, commit {ran.commit[:8]}"
    f"{' (modified)' * ran.dirty}. Medians over turns; in brackets the lowest and the highest."
)

# %% [markdown]
# Their training loop, word for word; the loader and the test protocols stand beside it in
# `vggrepro/bench/rival.py`.

# %% tags=["remove-input"]
chapter.source("bench.rival", "Training.run")

# %% [markdown]
# ## What testing costs
#
# More windows of an image cost more time, and buy some error:
# [one table](08_multi_crop.ipynb#what-each-costs-and-what-it-gives) has work, time and error of
# every protocol.
#
# ## How it grows
#
# Multiply-adds grow with the number of images, with the square of the crop, and nearly with the
# square of the width. Time follows only as far as arithmetic is what the machine waits for.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-costs-growth", "caption": "Hours of one training of D for the epochs of the reduced budget, fitted on the recorded trainings of one machine. Left against the side of the crop, with Imagenette's number of photos; right against the number of photos at 64 px, from Imagenette's to ILSVRC's. Dots are recorded trainings of D. Lines of greater width are the narrow one times the ratio of rates that vggrepro bench measured at 64 px."}, "image": {"alt": "Two panels with logarithmic axes: hours of training against crop and against number of images, a line for each width."}}
costs.growth(trained, bench)
figures.plt.show()

# %% tags=["remove-input"]
Markdown(costs.growth_sentence(trained, bench))

# %% [markdown]
# ## The paper's weeks
#
# Four Titan Black and two to three weeks a net. What share of the cards' peak does that imply?

# %% tags=["remove-input"]
report.show(planner.paper_table())

# %% [markdown]
# ```{margin}
# Counted are the epochs of one training from scratch at one scale. The paper does not say whether
# its weeks hold the training of net A before it, or fine-tuning.
# ```
#
# A share above the peak would mean that the count or the card is wrong. The planner assumes one
# share for all cards, and shows it. It lies where the paper's own times do.
#
# ## What has not been run
#
# The budgets `gpu` and `full` are declared, planned, and not run. The planner takes the figures of
# data sheets, the assumed share of the peak, and the memory's bandwidth where that is less. It
# assumes that decoding keeps up.

# %% tags=["remove-input"]
report.show(costs.devices_table())

# %% [markdown]

# %% tags=["remove-input"]
records = store.frame()
Markdown(
    f"**Of {len(records)} records {records.processor.str.contains('NVIDIA').sum()} were made on a "
    "GPU.** `vggrepro plan` prints the plan of every run."
)

# %% [markdown]
# ## The verdict
#
# No claim of the paper is decided in this chapter. That LRN costs time and memory is decided in
# [](02_lrn). That several crops are not worth their time is a judgement, and no measurement settles
# it; the chapter on crops gives both sides of it. The speed-up on four GPUs takes four GPUs: here
# `torchrun` shares a batch among processes, and what that gains on one processor says nothing about
# cards.
#
# **The next question:** what did others get who trained these nets again? [](12_others)
#
# ## Where the numbers come from

# %% tags=["remove-input", "hide-output"] mystnb={"code_prompt_show": "Every training, a line each", "code_prompt_hide": "Every training, a line each"}
chapter.trainings()

# %% tags=["remove-input"]
chapter.rerun()

# %% [markdown]
# The measurements, on a machine with nothing else running, and the plans, in the
# [environment](rerun) of `make`:
#
# ```bash
# vggrepro bench --data imagenette --data-dir DATA     # the table of speeds, below five minutes
# vggrepro plan --budget full --device h100 --devices 8
# vggrepro plan --paper
# ```
