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
# # Normalisation: does LRN help?
#
# Does local response normalisation (LRN) earn what it costs? AlexNet had it. The paper tries it
# once, in the shallowest of its nets, finds nothing and leaves it out of all the others. This
# chapter trains net A with and without it, on two sets of photos, and measures what it costs.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters of a rerun", "code_prompt_hide": "Parameters of a rerun"}
budget: str = "reduced"  # of a rerun: smoke, quick, reduced, gpu or full
data: str = ""  # data set of a rerun; empty: the budget's first
seeds: int = 0  # how many seeds a rerun trains; 0: the budget's own number
rerun: bool = False  # True: train what is missing, then show it beside the recorded study
data_dir: str = ""  # folder with the data set; drawn images need none
results_dir: str = ""  # folder with the rerun's records; empty: rerun/ in the checkout

# %% tags=["remove-input"]
from IPython.display import Markdown

from vggrepro.pages import figures, nets, report
from vggrepro.pages.page import Chapter
from vggrepro.pages.report import DATA_NAMES
from vggrepro.study import store
from vggrepro.study.decisions import decide

chapter = Chapter("02", budget, data, seeds, rerun, data_dir, results_dir)
PAIR = ("A-S256", "A-LRN-S256")

# %% tags=["remove-input"]
chapter.in_short()

# %% [markdown]
# ## In plain words

# %% tags=["remove-input"]
found = chapter.found
Markdown(
    f"""
{found.basis(cifar10="A-LRN-S256", imagenette="A-LRN-S256")}

**LRN does little here, and whether it helps stays open.** A-LRN errs less than A by
{found.lower("cifar10", "A-LRN-S256", "A-S256")} points on CIFAR-10 and by
{found.lower("imagenette", "A-LRN-S256", "A-S256")} on Imagenette. The paper's two nets differ by a
tenth of a point, the other way round. Seed by seed CIFAR-10 has
{found.by_seed("cifar10", "A-LRN-S256")} % with LRN and {found.by_seed("cifar10", "A-S256")} %
without, so one pair of trainings could have said either.

**What gain there is may be speed.** A-LRN also errs less on the images that it was trained on
({found.fits_better("cifar10", "A-LRN-S256", "A-S256")} on CIFAR-10,
{found.fits_better("imagenette", "A-LRN-S256", "A-S256")} on Imagenette), so it has got further in
the same time; and with half the epochs the gap is
{found.lower("cifar10", "A-LRN-short", "A-short")} points, with one sign in all seeds
({found.by_seed("cifar10", "A-LRN-short")} % against {found.by_seed("cifar10", "A-short")} %). The
paper trained for longer: it lowered the rate three times, each time when the accuracy stopped
improving. There a layer that only learns faster is worth little. What speaks against
carrying this over to the paper's nets: here LRN's five channels are a third of the layer's
sixteen.

**That it costs time and memory holds**, at all three sizes measured. In time it costs least at
224 px and full width, where the layer's channels are four times as many; crop and width change
together there.
"""
)

# %% [markdown]
# ## The claim

# %% tags=["remove-input"]
chapter.quotes("lrn", "lrn-costs")

# %% [markdown]
# ## What the paper did, and what we changed
#
# The paper trains A and A-LRN on ILSVRC-2012 and compares them by dense evaluation at the scale
# they were trained at. A-LRN has one LRN layer, after the first convolution and its ReLU. Both
# sides here start from the same weights, see the same crops in the same order, and train for as
# many epochs ([all that is changed](summary.ipynb)). Since dense evaluation of small images depends
# on where the grid falls, the centre crop and its flip decide.
#
# ## The idea
#
# Every activation is divided by a sum over its neighbours in the channel direction, at the same
# place of the image:
#
# $$y_i = \frac{x_i}{\left(k + \alpha \sum_{j=i-2}^{i+2} x_j^2\right)^{\beta}},
# \qquad k = 2,\; \alpha = 10^{-4},\; \beta = 0.75$$
#
# with the constants of {cite:t}`krizhevsky2012alexnet`. Two traps lie here, and an ablation that
# falls into either compares A with itself.

# %% [markdown]
# ```{margin}
# The paper names Krizhevsky's constants and not the formula. Caffe divides α by the window too, so
# the authors' own code may have used a fifth of the α used here.
# ```
#
# **α and n.** PyTorch's `LocalResponseNorm` divides α by the window of five channels; the formula
# does not. The library takes the formula.
#
# **α and the scale of the inputs.** α was chosen for pixels from 0 to 255. Inputs that are divided
# by $s$ make activations $s$ times and their squares $s^2$ times smaller: the denominator is then
# $k^\beta$ to within a hair, a constant. So α is multiplied by $s^2$.

# %% [markdown]
# ## The errors

# %% tags=["remove-input"]
report.show(nets.error_table(chapter.runs, chapter.columns))

# %% [markdown]
# Top-1 error in percent at Q = 256: the paper's on its validation images, ours on the `val` images
# of each data set, mean ± standard deviation over n seeds. Rows within a column can be compared;
# columns cannot, since they differ in images, classes and size of the nets.
#
# **CIFAR-10 has no column of dense evaluation at Q = 256, here or elsewhere:** it would repeat the
# centre crop, digit for digit. Q = 256 is 37 px for crops of 32 px; whole strides of 32 px leave one
# position, so 37 px are trimmed to the 32 in the middle, which are the centre crop.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-lrn-dots", "caption": "Top-1 error of net A with and without LRN by centre crop and flip. A dot is a seed, a line the mean."}, "image": {"alt": "Top-1 error of A and A-LRN, a panel for each data set, a dot for each seed and a line at the mean."}}
chapter.dots(*PAIR)

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-lrn-curves", "caption": "Error while training, measured in eval mode: full lines on minival, which is never trained on, dashed lines on as many training images. Lines are means over seeds, bands reach from the lowest to the highest."}, "image": {"alt": "Learning curves of A and A-LRN on minival and on training images, a panel for each data set."}}
chapter.curves(*PAIR)

# %% [markdown]
# ## Was LRN alive?
#
# If the denominator hardly varied, the ablation would say nothing. Every training of A-LRN records
# how it is spread over channels, places and the first 64 images of minival, after each epoch.
# Minival is in the order of its classes, so these 64 are all of one class.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-lrn-denominator", "caption": "LRN's denominator before the power β, after each epoch: median, and the range of most values. With k = 2, a value of 2 means that LRN only scales."}, "image": {"alt": "Quantiles of LRN's denominator over epochs, a panel for each data set."}}
nets.denominators("A-LRN-S256", chapter.columns)
figures.plt.show()

# %% tags=["remove-input"]
said = []
for column in chapter.columns[:2]:
    low, *_, high = nets.denominators_of("A-LRN-S256", column)[-1]
    said.append(
        f"{column.title}: after the last epoch the denominator reaches from {low:.2f} (1 %) to "
        f"{high:.2f} (99 %), a ratio of {high / low:.1f}: LRN was "
        f"{'alive' if high / low > 1.5 else 'close to a constant factor'}."
    )
Markdown("\n\n".join(said))

# %% [markdown]
# ## Length of training
#
# The paper lowers its rate three times, each time when the accuracy has stopped improving, and ends
# after 370K iterations. A small budget may end sooner, and a layer that makes a
# net learn faster then looks like one that makes it better. Two things tell. The control trains
# both nets for half as long: a difference that shrinks with the epochs is one of speed. And if LRN
# lowers the error on training images as much, it acts on how far a training gets, and less on how
# it generalises. Error on training images and on as many of minival, after the last epoch:

# %% tags=["remove-input"]
chapter.fit()

# %% tags=["remove-input"]
chapter.still_moved(*PAIR)

# %% [markdown]
# Width matters too. In a net of a quarter of the width the five channels of LRN's window are a good
# part of all there are.
#
# ## What it costs
#
# The other half of the sentence. A and A-LRN took turns at training steps on one batch, so that
# only ratios within a turn count. LRN is measured in two implementations: the library's, which
# keeps little for the backward pass, and PyTorch's `LocalResponseNorm`, which a reader would reach
# for. An interval over turns covers one session on one machine only: another processor or another
# build of PyTorch may differ by more.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-lrn-cost", "caption": "Time of a training step and bytes kept for the backward pass, A-LRN over A, at the two reduced sizes and at the paper's own (224 px, full width). Bars are medians over turns, whiskers the extremes."}, "image": {"alt": "Bars of time and memory of A-LRN relative to A for crops of 32, 64 and 224 pixels, for two implementations."}}
bench = store.read(store.bench_path(store.RECORDED, "lrn"))
nets.lrn_costs(bench)
figures.plt.show()

# %% tags=["remove-input"]
time, memory = (decide(f"lrn-costs-{what}", store.RECORDED) for what in ("time", "memory"))
on = bench.provenance
Markdown(
    f"**Two numbers decide, at 224 px and full width.** In *time* the library's LRN adds "
    f"{time.difference:+.0f} %, the median of {time.n} turns ({on.processor}, {on.threads} threads, "
    f"{bench.settings['precision']}); some turns took twice as long, since other work ran beside "
    f"them, and a mean would follow those. In *memory* it adds {memory.exact:+.0f} %, one more "
    "layer's output, by arithmetic. What autograd keeps, in the figure, is more: the denominator as "
    "well as the output.\n\nIn time LRN costs most where the net is narrowest: it works at the full "
    "resolution of the image, where a convolution over few channels is cheap."
)

# %% [markdown]
# ## The verdict
#
# The error named first less the error named second, in points of top-1 error:
# positive is as the paper says. Brackets are 95 % intervals over seeds; bold is the column that
# decides.

# %% tags=["remove-input"]
chapter.differences()

# %% tags=["remove-input"]
chapter.verdicts()

# %% tags=["remove-input"]
chapter.agreement()

# %% tags=["remove-input"]
table = store.frame()
pilots = table[(table["round"] == "pilot") & (table.protocol == "centre-crop")]
by_seed = pilots.pivot(index=["data", "seed"], columns="run", values="top1_error")
gains = by_seed["A-S256"] - by_seed["A-LRN-S256"]
Markdown(
    "**The pilots said otherwise.** There A-LRN was ahead of A by "
    + " and by ".join(
        f"{mean:.1f} points on {DATA_NAMES[name]}"
        for name, mean in gains.groupby("data").mean().items()
    )
    + f", in {(gains > 0).sum()} of {gains.count()} seeds. Then the length of training and dropout "
    "were changed, for all nets, before the seeds above were trained. The pilots decide nothing."
)

# %% [markdown]
# ## The second round

# %% tags=["remove-input"]
chapter.second_errors(nets.lengths_table)

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-lrn-second", "caption": "The second round. Top-1 error on CIFAR-10 by centre crop and flip, after two lengths of training. A dot is a seed, a bar the mean."}}
chapter.second_figure(nets.lengths, nets.lengths_table)

# %% tags=["remove-input"]
chapter.second_verdicts()

# %% [markdown]
# **The next question:** none of the other nets has LRN. They only get deeper. [](03_depth)
#
# ## Where the numbers come from

# %% tags=["remove-input", "hide-output"] mystnb={"code_prompt_show": "Every training, a line each", "code_prompt_hide": "Every training, a line each"}
chapter.trainings()

# %% tags=["remove-input"]
chapter.rerun()
