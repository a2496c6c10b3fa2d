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

from vggrepro.pages import figures, nets
from vggrepro.pages.page import Chapter
from vggrepro.study import store

chapter = Chapter("02", budget, data, seeds, rerun, data_dir, results_dir)

# %% tags=["remove-input"]
chapter.in_short()

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
# many epochs. Since dense evaluation of small images depends on where the grid falls, the centre
# crop and its flip decide; dense evaluation stands beside it.

# %% tags=["remove-input"]
chapter.deviations("A-S256")

# %% [markdown]
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

# %% tags=["remove-input"]
chapter.source("models", "LRN.denominator")

# %% tags=["remove-input"]
chapter.source("models", "LRN._band")

# %% [markdown]
# ## The errors

# %% tags=["remove-input"]
PAIR = ("A-S256", "A-LRN-S256")
chapter.errors({"centre-crop": PAIR, "dense": PAIR})

# %% [markdown]
# Top-1 error in percent at Q = 256: the paper's on its validation images, ours on the `val` images
# of each data set, mean ± standard deviation over n seeds. Rows within a column can be compared;
# columns cannot, since they differ in images, classes and size of the nets.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lrn-dots", "caption": "Top-1 error of net A with and without LRN by centre crop and flip. A dot is a seed, a line the mean."}, "image": {"alt": "Top-1 error of A and A-LRN, a panel for each data set, a dot for each seed and a line at the mean."}}
chapter.dots(*PAIR)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lrn-curves", "caption": "Error while training, measured in eval mode: full lines on minival, which is never trained on, dashed lines on as many training images. Lines are means over seeds, bands reach from the lowest to the highest."}, "image": {"alt": "Learning curves of A and A-LRN on minival and on training images, a panel for each data set."}}
chapter.curves(*PAIR)

# %% [markdown]
# ## Was LRN alive?
#
# If the denominator hardly varied, the ablation would say nothing. Every training of A-LRN records
# how it is spread over channels, places and the first 64 images of minival, after each epoch.
# Minival is in the order of its classes, so these 64 are all of one class.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lrn-denominator", "caption": "LRN's denominator before the power β, after each epoch: median, and the range of most values. With k = 2, a value of 2 means that LRN only scales."}, "image": {"alt": "Quantiles of LRN's denominator over epochs, a panel for each data set."}}
figures.denominators("A-LRN-S256", chapter.columns)
figures.plt.show()

# %% tags=["remove-input"]

Markdown("\n\n".join(nets.denominator_sentence(one, "A-LRN-S256") for one in chapter.columns))

# %% [markdown]
# ## What it costs
#
# The other half of the sentence. A and A-LRN took turns at training steps on one batch, so that
# only ratios within a turn count. LRN is measured in two implementations: the library's, which
# keeps little for the backward pass, and PyTorch's `LocalResponseNorm`, which a reader would reach
# for. An interval over turns covers one session on one machine only: another processor or another
# build of PyTorch may differ by more.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lrn-cost", "caption": "Time of a training step and bytes kept for the backward pass, A-LRN over A, at the two reduced sizes and at the paper's own (224 px, full width). Bars are medians over turns, whiskers the extremes."}, "image": {"alt": "Bars of time and memory of A-LRN relative to A for crops of 32, 64 and 224 pixels, for two implementations."}}
path = store.bench_path(store.RECORDED, "lrn")
bench = store.read(path) if path.exists() else None
figures.costs(bench)
figures.plt.show()

# %% tags=["remove-input"]
Markdown(nets.cost_sentence(bench))

# %% [markdown]
# ## The verdict

# %% tags=["remove-input"]
chapter.verdicts()

# %% [markdown]
# Second minus first, in points of top-1 error by centre crop and flip: a positive number is as the
# paper says. Brackets are 95 % intervals over seeds; bold is the column that decides.

# %% tags=["remove-input"]
chapter.differences()

# %% tags=["remove-input"]
chapter.agreement()

# %% [markdown]
# ### In plain words

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
paper trained until the error
stopped falling, after which a layer that only learns faster is worth nothing. What speaks against
carrying this over to the paper's nets: here LRN's five channels are a third of the layer's
sixteen.

**That it costs time and memory holds** at all three sizes measured. In time it costs least at 224 px
and full width, where the layer's channels are four times as many; crop and width change together
there.
"""
)

# %% [markdown]
# ### Length of training
#
# The paper trains until the error stops falling. A small budget may not, and a layer that makes a
# net learn faster then looks like one that makes it better. Two things tell. The control trains
# both nets for half as long: a difference that shrinks with the epochs is one of speed. And if LRN
# lowers the error on training images as much, it acts on how far a training gets, and less on how
# it generalises. Error on training images and on as many of minival, after the last epoch:

# %% tags=["remove-input"]
chapter.fit()

# %% [markdown]
# Width matters too. In a net of a quarter of the width the five channels of LRN's window are a good
# part of all there are.
#
# ## Where the numbers come from

# %% tags=["remove-input", "hide-output"] mystnb={"code_prompt_show": "Every training, a line each", "code_prompt_hide": "Every training, a line each"}
chapter.trainings()

# %% tags=["remove-input"]
chapter.rerun()
