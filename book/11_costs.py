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

# %% tags=["parameters", "hide-input"]
budget: str = "reduced"  # of a rerun: smoke, quick, reduced, gpu or full
data: str = ""  # data set of a rerun; empty: the budget's first
seeds: int = 0  # how many seeds a rerun trains; 0: the budget's own number
rerun: bool = False  # True: train what is missing, then show it beside the recorded study
data_dir: str = ""  # folder with the data set; drawn images need none
results_dir: str = ""  # folder with the rerun's records; empty: rerun/ in the checkout

# %% tags=["hide-input"]
from IPython.display import Markdown

from vggrepro.pages import costs, figures, report
from vggrepro.study import programme, store

options = report.options(budget, data, seeds, rerun, data_dir, results_dir)
figures.use_style()

RUNS = programme.CHAPTER_RUNS["11_costs"]
options.ensure(RUNS)
columns = options.columns()
bench = costs.bench_of(options)

# %% [markdown]
# ## What the paper says

# %% tags=["remove-input"]
report.claim_box("training-time", "speedup", "crops-not-justified")

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
report.source("bench.turns", "take_turns")

# %% [markdown]
# Work is counted from the layers. The backward pass takes every layer twice, for the gradients of
# its weights and of its input; the images alone need none.

# %% tags=["remove-input"]
report.source("bench.workload", "training_step")

# %% [markdown]
# ## What a net costs
#
# One training step, for one image. *GMAC* are thousand million multiply-adds, forward and backward;
# *kept* is what the forward pass leaves in memory for the backward pass. The paper's size is 224 px
# at full width, ours is the `reduced` budget on Imagenette.

# %% tags=["remove-input"]
report.show(costs.nets_table(bench))

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-costs-nets", "caption": "Time of a training step (a dot for each turn) and memory kept for the backward pass, for one image, against its multiply-adds. Measured at 64 px and a quarter of the width, the nets taking turns."}, "image": {"alt": "Two panels: milliseconds and kilobytes for one image against multiply-adds, a point for each of the nets A, A-LRN, B, C, D and E."}}
costs.nets(bench)
figures.plt.show()

# %% tags=["remove-input"]
Markdown(costs.lrn_sentence(bench))

# %% [markdown]
# Nets with more multiply-adds need not be slower in proportion. Early layers have few channels and
# large maps: there a machine waits for memory, not for arithmetic. Whole trainings, as they were
# recorded, with the evaluation after each epoch. The memory is the most that a process held, the
# memory-mapped photos included, which the system may take back at any time. Seeds ran on two kinds
# of processor, with other work beside them: the turns above compare nets, not these rows.

# %% tags=["remove-input"]
report.show(costs.trainings_table(columns))

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
Markdown(costs.speed_sentence(bench))

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-costs-speed", "caption": "What was measured against its goals. Above: how many times as fast as torchvision's way (training) and as one image at a time (testing). Below: training against the step alone, and the model against the fastest convolution."}, "image": {"alt": "Two panels of dots, one for each turn, with ticks at the goals: ratios to the usual way, and percentages of what the machine can do."}}
costs.speeds(bench)
figures.plt.show()

# %% [markdown]
# ### Where a step's time goes
#
# The targets were written down on a machine whose processor has matrix units for bfloat16, where a
# convolution gains more from it than on one that has vector instructions only. So what a machine
# could do at all belongs beside what was measured on it. (What takes longest in opening a chapter is
# to import matplotlib and pandas, which draw its figures and tables.) Shares of one training step
# of D:

# %% tags=["remove-input"]
report.show(costs.profile_table(bench))

# %% tags=["remove-input"]
Markdown(costs.limit_sentence(bench))

# %% [markdown]
# Tried on such a machine and left out, since nothing was gained: allocator settings (no trimming, a
# high threshold for mapping, huge pages), the first blocks in parts that fit the cache, ReLU's
# gradient written over the one it comes from.
#
# Their training loop, word for word; the loader and the test protocols stand beside it in
# `vggrepro/bench/rival.py`.

# %% tags=["remove-input"]
report.source("bench.rival", "Training.run")

# %% [markdown]
# ## What testing costs
#
# More windows of an image cost more time, and buy some error. The work is counted at the paper's
# size, the time and the error are those of the records.

# %% tags=["remove-input"]
# The jittered nets are trained on Imagenette only: 32 px leave no room for several Q.
report.show(costs.protocols_table([c for c in columns if c.data != "cifar10"]))

# %% tags=["remove-input"]
Markdown(
    "Top-1 error of D-jitter on `val`, in percent; what each protocol buys is the subject of "
    f"{costs.chapter_link('08_multi_crop', 'the chapter on crops')}."
)

# %% [markdown]
# ## How it grows
#
# Multiply-adds grow with the number of images, with the square of the crop, and nearly with the
# square of the width. Time follows only as far as arithmetic is what the machine waits for.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-costs-growth", "caption": "Hours of one training of D for the epochs of the reduced budget, fitted on the recorded trainings of one machine. Left against the side of the crop, with Imagenette's number of photos; right against the number of photos at 64 px, from Imagenette's to ILSVRC's. Dots are recorded trainings of D. Lines of greater width are the narrow one times the ratio of rates that vggrepro bench measured at 64 px."}, "image": {"alt": "Two panels with logarithmic axes: hours of training against crop and against number of images, a line for each width."}}
recorded = costs.measured_rates(store.RECORDED)
costs.growth(recorded, bench)
figures.plt.show()

# %% tags=["remove-input"]
Markdown(costs.growth_sentence(recorded, bench))

# %% [markdown]
# ## The paper's weeks
#
# Four Titan Black and two to three weeks a net. What share of the cards' peak does that imply?

# %% tags=["remove-input"]
report.show(costs.paper_table())

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
# The whole study with its controls, each training counted once. Run by run, for one A100 at `gpu`
# and eight H100 at `full`:

# %% tags=["hide-output", "remove-input"]
report.show(costs.plan_table("gpu", "a100-40", 1))

# %% tags=["hide-output", "remove-input"]
report.show(costs.plan_table("full", "h100", 8))

# %% tags=["remove-input"]
Markdown(costs.gpu_sentence(columns))

# %% [markdown]
# ## The verdict
#
# No claim of the paper is decided in this chapter. That LRN costs time and memory is decided in
# [](02_lrn). That several crops are not worth their time is a judgement, and no measurement settles
# it; the table above gives both sides of it. The speed-up on four GPUs takes four GPUs: here
# `torchrun` shares a batch among processes, and what that gains on one processor says nothing about
# cards.
#
# ## Where the numbers come from

# %% tags=["remove-input", "hide-output"] mystnb={"code_prompt_show": "Every training, a line each", "code_prompt_hide": "Every training, a line each"}
report.show(report.provenance_table(columns, RUNS), "words")

# %% tags=["remove-input"]
report.commands("11_costs", RUNS)

# %% [markdown]
# The measurements, on a machine with nothing else running, and the plans:
#
# ```bash
# vggrepro bench --data imagenette --data-dir DATA     # the table of speeds, below five minutes
# vggrepro plan --budget full --device h100 --devices 8
# vggrepro plan --paper
# ```
