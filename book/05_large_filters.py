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
# # Large filters: two 3×3 against one 5×5
#
# Are two layers of 3×3 better than one of 5×5 that sees as much? The paper says so of net B and a
# shallow twin. It argues further that three layers of 3×3 need fewer weights than one of 7×7, but
# it trains no such net. This chapter trains both twins.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters of a rerun", "code_prompt_hide": "Parameters of a rerun"}
budget: str = "reduced"  # of a rerun: smoke, quick, reduced, gpu or full
data: str = ""  # data set of a rerun; empty: the budget's first
seeds: int = 0  # how many seeds a rerun trains; 0: the budget's own number
rerun: bool = False  # True: train what is missing, then show it beside the recorded study
data_dir: str = ""  # folder with the data set; drawn images need none
results_dir: str = ""  # folder with the rerun's records; empty: rerun/ in the checkout

# %% tags=["remove-input"]
import numpy as np
from IPython.display import Markdown

from vggrepro.configs import layer_names
from vggrepro.pages import figures, nets, report
from vggrepro.pages.page import Chapter
from vggrepro.study import paper
from vggrepro.study.experiments import RUNS

photos = ("cifar10",)
chapter = Chapter("05", budget, data, seeds, rerun, data_dir, results_dir, photos=photos)
NETS = tuple(RUNS[run].config for run in chapter.runs)

# %% tags=["remove-input"]
chapter.in_short()

# %% [markdown]
# ## In plain words

# %% tags=["remove-input"]
found = chapter.found
Markdown(
    f"""
{found.basis(cifar10="B-he")} Imagenette has no part in this chapter.

**Two 3×3 are hardly better than one 5×5 here:** B errs less than its twin by
{found.lower("cifar10", "B-he", "B-5x5-he")} points in the mean, where the paper has seven. B's
seeds have {found.by_seed("cifar10", "B-he")} %, the twin's {found.by_seed("cifar10", "B-5x5-he")}
%; B's lie further apart, but three seeds cannot show that. B also fits its training
images less well than the twin ({found.fits_worse("cifar10", "B-he", "B-5x5-he")}). With five layers fewer the twin is
easier to train, and on the last maps, two units a side, neither filter has much to look at.

**Three 3×3 are not better than one 7×7.** D's twin errs less by
{found.lower("cifar10", "D-7x7-he", "D-he")} points. It has {len(layer_names("D-7x7"))} weight
layers to train where D has {len(layer_names("D"))}, and fits its training images far better in the
same epochs ({found.fits_better("cifar10", "D-7x7-he", "D-he")}). The paper argues from the number
of weights and trains no such net, so nothing here contradicts a result of it. D trained for twice
as long ([the chapter on depth](03_depth.html)) errs less than the twin, by
{found.lower("cifar10", "D-he-long", "D-7x7-he")} points, but the twin was not given those epochs.
"""
)

# %% [markdown]
# ## The claim

# %% tags=["remove-input"]
chapter.quotes("small-filters", "seven-by-seven")

# %% tags=["margin", "remove-input"]
b = paper.value(3, net="B")
Markdown(
    "“7% higher” may be points or a share of B's error; the paper gives neither net's error by "
    f"centre crop. We read points. As a share it would be {7 * b / 100:.1f} points of the "
    f"{b:.1f} % that B has by dense evaluation."
)

# %% [markdown]
# ## What the paper did, and what we changed
#
# The paper's shallow net is B with each pair of 3×3 layers replaced by one of 5×5: five
# convolutions where B has ten. It is compared with B by centre crop, and so is ours. D's twin has
# one 7×7 in place of each three 3×3.
#
# **Fair sides.** A deep net of the paper starts from net A, whose 3×3 kernels do not fit into 5×5.
# So that neither side has a better start, all four nets here begin with random weights by He's
# rule and train for as many epochs. All else that is changed stands in
# [the summary](summary.ipynb).
#
# ## The idea: a large filter, taken apart
#
# A unit after two layers of 3×3 sees five by five places, as one 5×5 does; after three it sees
# seven by seven. What differs is how the places count.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-stacks", "caption": "In how many ways a unit is reached from each place it sees. In a stack the middle is reached most often; a large filter has one weight for each place."}, "image": {"alt": "Squares of numbers for two 3×3 layers, one 5×5, three 3×3 and one 7×7; the stacks count the middle most, the single filters every place once."}}
nets.seen_through({"two 3×3": [3, 3], "one 5×5": [5], "three 3×3": [3, 3, 3], "one 7×7": [7]})
figures.plt.show()

# %% [markdown]
# With nothing between them, two 3×3 filters *are* a 5×5 filter, of the kind that can be taken
# apart: the paper calls it a regularisation of large filters. With a ReLU between them they
# are not. Here a horizontal difference is followed by a smoothing, on a drawn image:

# %% tags=["remove-input"]
chapter.source("pages.nets", "responses")

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-responses", "caption": "Above: two 3×3 filters and the one 5×5 filter that they make. Below: a drawn image and what they make of it; red is positive, blue negative. With a ReLU between the two only edges of one direction are left."}, "image": {"alt": "Three filters as coloured squares, a drawn image and two filtered ones; in the last of them one sign is missing."}}
image = nets.grey_drawing()
nets.stack_and_filter(image)
figures.plt.show()

# %% tags=["remove-input"]
single, stack, with_relu = nets.responses(image).values()
Markdown(
    f"The 5×5 filter and the stack {'agree' if np.allclose(single, stack) else 'do not agree'} "
    "to rounding. With the ReLU the stack differs from both by up to "
    f"{np.abs(with_relu - single).max():.2f}, where pixels go from 0 to 1."
)

# %% [markdown]
# ### What they cost
#
# For as many channels in as out the sum is the paper's, and {doc}`01_architecture` does it. In the
# nets themselves it comes out otherwise: the first layer of a block takes in half as many channels
# as it gives out, and a large filter pays for those only once.

# %% tags=["remove-input"]
report.show(nets.sizes_table(NETS))

# %% tags=["remove-input"]
Markdown(
    "\n".join(
        f"- {large} against {small}: {nets.more_weights(large, small):+.0f} % weights in the "
        "convolutions of the paper's width."
        for small, large in zip(NETS[::2], NETS[1::2], strict=True)
    )
)

# %% [markdown]
# ## The errors

# %% tags=["remove-input"]
report.show(nets.error_table(chapter.runs, chapter.columns).drop(columns="paper, dense"))

# %% [markdown]
# Top-1 error in percent at Q = 256, mean ± standard deviation over n seeds. The paper gives a
# difference only, which stands in the table of differences below. In the
# [chapter on depth](03_depth.ipynb) B and D start from net A and have more epochs in all.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-cost-error", "caption": "Top-1 error by centre crop and flip against what the convolutions hold (left) and what they do for one image (right), at the size that was trained. A dot is a seed, a bar the mean."}}
nets.cost_and_error(chapter.runs, chapter.columns)
figures.show(chapter.in_words(chapter.runs))

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-large-curves", "caption": "Error while training, measured in eval mode: full lines on minival, which is never trained on, dashed lines on as many training images. Lines are means over seeds, bands reach from the lowest to the highest."}, "image": {"alt": "Learning curves of B, its 5×5 twin, D and its 7×7 twin."}}
chapter.curves(*chapter.runs)

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
# decides.

# %% tags=["remove-input"]
chapter.differences()

# %% tags=["remove-input"]
chapter.verdicts()

# %% tags=["remove-input"]
twin, b = (report.errors(chapter.columns[0], run) for run in ("B-5x5-he", "B-he"))
gains = [twin[seed] - b[seed] for seed in b]
Markdown(
    f"The interval of B against its twin is narrower than its own seeds, "
    f"{', '.join(f'{gain:+.1f}' for gain in gains)}: nets of one data set share one variance "
    "([how](method.html#from-errors-to-an-interval)), and that of the others is smaller. One "
    "training took off late: B's with seed 1, the one that errs more than its twin."
)

# %% [markdown]
# A twin differs from its net in more than the size of filters: it has fewer layers, fewer
# non-linearities and another number of weights. What is tested is the swap as a whole, as in the
# paper. {numref}`fig-padding` applies too, and more so: a 7×7 filter on a map of a few units sees
# mostly padding.
#
# ## The second round

# %% tags=["remove-input"]
chapter.second_errors(nets.lengths_table)

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-large-filters-second", "caption": "The second round. Top-1 error on CIFAR-10 by centre crop and flip, after two lengths of training. A dot is a seed, a bar the mean."}}
chapter.second_figure(nets.lengths, nets.lengths_table)

# %% tags=["remove-input"]
chapter.second_verdicts()

# %% [markdown]
# **The next question:** so far every net has seen one size of image. Does it help to train at
# many? [](06_scale_jitter)
#
# ## Where the numbers come from

# %% tags=["remove-input", "hide-output"] mystnb={"code_prompt_show": "Every training, a line each", "code_prompt_hide": "Every training, a line each"}
chapter.trainings()

# %% tags=["remove-input"]
chapter.rerun()
