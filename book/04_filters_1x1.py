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
# # Filters of 1×1: non-linearity or context?
#
# When a net gets deeper, is it the extra non-linearity that helps or the wider view? The paper
# has two nets of 16 layers to tell. C adds layers of 1×1 to B, which see one place and add a
# non-linearity. D has 3×3 in their place and sees further.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters of a rerun", "code_prompt_hide": "Parameters of a rerun"}
budget: str = "reduced"  # of a rerun: smoke, quick, reduced, gpu or full
data: str = ""  # data set of a rerun; empty: the budget's first
seeds: int = 0  # how many seeds a rerun trains; 0: the budget's own number
rerun: bool = False  # True: train what is missing, then show it beside the recorded study
data_dir: str = ""  # folder with the data set; drawn images need none
results_dir: str = ""  # folder with the rerun's records; empty: rerun/ in the checkout

# %% tags=["remove-input"]
from IPython.display import Markdown

from vggrepro import cost
from vggrepro.configs import CONFIGS
from vggrepro.pages import figures, nets, report
from vggrepro.pages.page import Chapter
from vggrepro.study.experiments import short_name
from vggrepro.windows import PAPER_CROP

chapter = Chapter("04", budget, data, seeds, rerun, data_dir, results_dir)
NETS = ("B", "C", "D")
crops = sorted({c.experiment("D-S256").crop for c in chapter.columns} | {PAPER_CROP})

# %% tags=["remove-input"]
chapter.in_short()

# %% [markdown]
# ## In plain words

# %% tags=["remove-input"]
found = chapter.found
Markdown(
    f"""
{found.basis(cifar10="C-S256", imagenette="C-S256")}

**The layers of 1×1 do harm here, on both sets of photos.** C errs more than B by
{found.lower("cifar10", "B-S256", "C-S256")} points on CIFAR-10 and by
{found.lower("imagenette", "B-S256", "C-S256")} on Imagenette; in the paper they help. The layers
without their ReLU (`C-linear`) cost {found.lower("cifar10", "B-S256", "C-linear-S256")} points
against B, and the ReLU, which is what the paper has them for,
{found.lower("cifar10", "C-linear-S256", "C-S256")} more, which three seeds do not decide. C also fits its training images less well
than B ({found.fits_worse("cifar10", "C-S256", "B-S256")}). So it does not overfit; more likely its
three extra layers need more training.

**3×3 in their place err less in the mean, and three seeds do not decide it.** D errs less than C by
{found.lower("cifar10", "D-S256", "C-S256")} points on CIFAR-10 and by
{found.lower("imagenette", "D-S256", "C-S256")} on Imagenette, as in the paper. A C that
is widened to D's weights is {found.lower("cifar10", "D-S256", "C-wide-S256")} behind D, so about half
of the gap may be weights, and three seeds cannot tell the rest from nothing. The context that a
3×3 filter adds may be worth little where the map is two units wide and most of its taps fall on
padding.
"""
)

# %% [markdown]
# ## The claim

# %% tags=["remove-input"]
chapter.quotes("one-by-one", "context")

# %% [markdown]
# ## What the paper did, and what we changed
#
# The paper compares B, C and D by dense evaluation at one scale (Table 3). Ours are the same
# columns of Table 1 at a smaller size ([all that is changed](summary.ipynb)); each starts from net
# A, as in the paper, and trains for as many epochs. The centre crop and its flip decide.
#
# ## The idea: what one unit sees
#
# Here is a unit at the end of the third block, and what it sees of the map at the block's start.
# The number in a place is in how many ways the unit is reached from it. The 1×1 layer of C changes
# neither view nor numbers: it mixes channels, place by place, and puts another ReLU after them.

# %% [markdown]
# ```{margin}
# C's layers of 1×1 have as many channels out as in. They are not there to save channels, as those
# of GoogLeNet are.
# ```

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-seen", "caption": "What a unit at the end of block 3 sees of the map at its start: B's two layers and C's three see as much, D's three see more."}, "image": {"alt": "Three squares of numbers, for B and C five by five places, for D seven by seven; the numbers are largest in the middle."}}
stacks = {net: [conv.kernel for conv in CONFIGS[net][2]] for net in NETS}
titled = {
    f"{net}\n{', '.join(f'{kernel}×{kernel}' for kernel in kernels)}": kernels
    for net, kernels in stacks.items()
}
nets.seen_through(titled)
figures.plt.show()

# %% [markdown]
# Over the whole net these views add up, and every pool doubles what a further layer adds.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-field-growth", "caption": "Receptive field of each convolution in pixels of the crop, with the crops that are trained here and the paper's. At C's 1×1 layers, the third of blocks 3 to 5, the line does not rise."}, "image": {"alt": "Lines of the receptive field over the convolutions of B, C and D; C is level with B, D rises above them from block 3 on."}}
nets.field_growth(NETS, crops)
figures.plt.show()

# %% tags=["remove-input"]
seen = {net: cost.convolutions(net)[-1].receptive_field for net in ("C", "D")}
Markdown(
    "The last convolution sees "
    + " and ".join(
        f"{field} px in {net} ({', '.join(f'{field / crop:.1f}' for crop in crops)} crop widths)"
        for net, field in seen.items()
    )
    + f", for crops of {', '.join(map(str, crops))} px. A field wider than the crop has padding in "
    "it, wherever it lies."
)

# %% [markdown]
# ### Weights change too
#
# C has more weights than B, and D more than C. So C against B is non-linearity *and* weights, and
# D against C is context *and* weights. The paper does not separate them; two nets of ours try to.
# `C-linear` has C's 1×1 layers without the ReLU after them, so C's weights without its
# non-linearity. `C-wide` has more channels around its 1×1 layers, as many as give it D's weights
# without D's context. Both start from net A's layers, like the others.

# %% tags=["remove-input"]
report.show(nets.sizes_table([short_name(run) for run in chapter.runs]))

# %% tags=["remove-input"]
Markdown(
    f"Counted in convolutions, C has {nets.more_weights('C', 'B'):.0f} % more weights than "
    f"B, and D {nets.more_weights('D', 'C'):.0f} % more than C."
)

# %% [markdown]
# ### Context needs an image
#
# At the border a 3×3 filter looks at padding. On a large map that hardly matters; on a small one
# padding is much of what it sees. Zeros are no context, so small crops take away the very thing
# that D is to show.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-padding", "caption": "Share of the taps of D's 3×3 filters that fall on zero padding, in percent, for each convolution and crop. Computed, not measured."}, "image": {"alt": "A heat map with a row for each convolution of D and a column for each crop: the share grows from the first block to the last and is the larger the smaller the crop."}}
nets.padding("D", crops)
figures.plt.show()

# %% tags=["remove-input"]
chapter.source("cost", "padding_share")

# %% [markdown]
# ## The errors

# %% tags=["remove-input"]
report.show(nets.error_table(chapter.runs, chapter.columns))

# %% [markdown]
# Top-1 error in percent at Q = 256, mean ± standard deviation over n seeds. Rows within a column
# can be compared; columns cannot, since they differ in images, classes and size of the nets. On
# CIFAR-10 dense evaluation is the centre crop ([why](02_lrn.ipynb#the-errors)).

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-1x1-dots", "caption": "Top-1 error by centre crop and flip. A dot is a seed, a line the mean."}, "image": {"alt": "Top-1 error of B, C, D and two controls, a panel for each data set, a dot for each seed and a line at the mean."}}
chapter.dots(*chapter.runs)

# %% [markdown]
# Did the better net learn its training images better, or does it say more about others? Error on
# training images and on as many of minival, which is never trained on, after the last epoch:

# %% tags=["remove-input"]
chapter.fit()

# %% [markdown]
# ## The verdict
#
# The error named first less the error named second, in points of top-1 error:
# positive is as the paper says. Brackets are 95 % intervals over seeds; bold is the column that
# decides. With one seed an interval rests on the
# spread of the other nets alone.

# %% tags=["remove-input"]
chapter.differences()

# %% tags=["remove-input"]
chapter.verdicts()

# %% tags=["remove-input"]
chapter.agreement()

# %% [markdown]
# ## The second round

# %% tags=["remove-input"]
chapter.second_errors(nets.lengths_table)

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-filters-second", "caption": "The second round. Top-1 error on CIFAR-10 by centre crop and flip, after two lengths of training. A dot is a seed, a bar the mean."}}
chapter.second_figure(nets.lengths, nets.lengths_table)

# %% tags=["remove-input"]
chapter.second_verdicts()

# %% [markdown]
# **The next question:** D's three layers of 3×3 see as much as one of 7×7. Are several small
# filters better than one large one? [](05_large_filters)
#
# ## Where the numbers come from

# %% tags=["remove-input", "hide-output"] mystnb={"code_prompt_show": "Every training, a line each", "code_prompt_hide": "Every training, a line each"}
chapter.trainings()

# %% tags=["remove-input"]
chapter.rerun()
