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
# # Depth: from 11 layers to 19
#
# Does a deeper net of small filters make fewer errors? It is the paper's main claim: depth alone,
# from 11 weight layers (A) to 19 (E), lowers the error until it saturates. This chapter trains the
# same nets side by side, and asks how much of a gain is depth and how much is longer training.

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
from vggrepro.configs import FROM_NET_A
from vggrepro.pages import figures, nets, report
from vggrepro.pages.page import Chapter
from vggrepro.study import paper
from vggrepro.study.experiments import short_name

chapter = Chapter("03", budget, data, seeds, rerun, data_dir, results_dir)
BY_DEPTH = ("A-S256", "B-S256", "D-S256", "E-S256")
FAIR = ("A-S256", "A-from-A", "A-he-long", "A-short", "D-S256", "D-he-long", "D-short")

# %% tags=["remove-input"]
chapter.in_short()

# %% [markdown]
# ## In plain words

# %% tags=["remove-input"]
found = chapter.found
Markdown(
    f"""
{found.basis(one_seed=True, cifar10="D-S256", imagenette="D-S256")}

**D beats A on CIFAR-10, by {found.lower("cifar10", "D-S256", "A-S256")} points, and as much
training gives A more.** D starts from the trained A, so it has had A's epochs as well as its own. A
second A that starts from the first in the same way errs less than D by
{found.lower("cifar10", "A-from-A", "D-S256")} points.

**In one go, the deep net makes more of the time.** D from random weights, by He's rule, with the
epochs of A and D together, is the best net of this chapter. It is
{found.lower("cifar10", "D-he-long", "A-from-A")} points below the second A,
{found.lower("cifar10", "D-he-long", "A-he-long")} below an A that had all those epochs in one go as
well, and {found.lower("cifar10", "D-he-long", "D-S256")} below the D that had net A's start. So the
paper's claim survives here in the form "a deeper net, trained for long enough", while its own way of
getting a deep net started costs more than it gives at this size: [the chapter on
starts](10_initialisation.html) has that comparison.

**Past B the extra layers seem to be a burden to training, not a case of overfitting.** On CIFAR-10
B errs less than D by {found.lower("cifar10", "B-S256", "D-S256")} points, and on its training
images too ({found.fits_better("cifar10", "B-S256", "D-S256")}); E fits them less well than D
({found.fits_worse("cifar10", "E-S256", "D-S256")}) and errs more by
{found.lower("cifar10", "D-S256", "E-S256")} points. In the paper that difference is smaller, and
it calls it saturation.

**On Imagenette sixteen and nineteen layers do not pay,** as was expected of 8,522 photos: D errs
more than A by {found.lower("imagenette", "A-S256", "D-S256")} points, E, which had not stopped
improving, by {found.lower("imagenette", "A-S256", "E-S256")}. B and A are
{found.alike("imagenette", "B-S256", "A-S256", within=1)} apart. ILSVRC-2012 has 1.3 million.
"""
)

# %% [markdown]
# ## The claim

# %% tags=["remove-input"]
chapter.quotes("depth", "saturates")

# %% tags=["margin", "remove-input"]
fixed, jittered = (
    paper.value(3, net="E", train_scale=scale) - paper.value(3, net="D", train_scale=scale)
    for scale in (256, "[256;512]")
)
Markdown(
    f"In Table 3 E minus D is {fixed:+.1f} points at S = 256 and {jittered:+.1f} with scale "
    "jitter. Notes about the paper often say that more than 19 layers are of no use. The paper says "
    "that larger data sets might want them."
)

# %% [markdown]
# ## What the paper did, and what we changed
#
# The paper trains the nets of Table 1 on ILSVRC-2012 and tests each at the scale it was trained
# at, by dense evaluation (Table 3). Ours are the same columns of Table 1 at a smaller size
# ([all that is changed](summary.ipynb)). The centre crop and its flip decide, since dense
# evaluation of small images depends on where the grid falls.
#
# CIFAR-10 decides these claims: it has by far the more photos, and its seeds differ less.
# Imagenette repeats them. Depth was not expected to pay on so few photos; whether it does tells
# what depth needs.
#
# ## The idea: how a deep net gets started
#
# The deeper nets are the same five blocks with more layers of 3×3 in them. Random weights could
# make so deep a net stall, so the paper trains A first and starts the others from its layers. Bold
# is what A gives; the rest is random.

# %% tags=["remove-input"]
report.show(nets.inherited_table([short_name(run) for run in BY_DEPTH]), "words")

# %% [markdown]
# ```{margin}
# The paper says “the first four convolutional layers”. Counted from the input, only the first of
# A's would fit B to E. We take the four places where the shapes fit; the paper does not say which
# it took.
# ```

# %% tags=["remove-input"]
convolutions = cost.convolutions("D")
given = [layer.weights for layer in convolutions if layer.name in FROM_NET_A]
Markdown(
    f"D takes {len(given)} of its {len(convolutions)} convolutions from A. They hold "
    f"{sum(given) / nets.conv_weights('D'):.0%} of the weights of its convolutions: what comes "
    "over is the bottom of the net and its head, and the blocks between them start at random."
)

# %% [markdown]
# ### It is also extra training
#
# A net that starts from A has had A's epochs before its own. So controls stand beside the paper's
# nets. **A-from-A** starts another A in the same way: four convolutions and the head are copied,
# the others are random. **D-he-long** and **A-he-long** start from random weights, by He's rule,
# and train in one go for as long as A and D together. **A-short** and **D-short** are the paper's
# pair at another length of training: a verdict on depth has to keep its sign there.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-depth-epochs", "caption": "For how many epochs each net has been trained when it is tested: coloured is its own training, grey that of the net A from which it takes layers. Fair comparisons are those of bars of one length."}, "image": {"alt": "A bar for each net, in epochs. D in the paper's way is as long as the two that train in one go, half of it net A's training; A alone is half as long."}}
nets.timelines(FAIR, chapter.columns[0])
figures.plt.show()

# %% [markdown]
# ## The errors

# %% tags=["remove-input"]
report.show(nets.error_table([r for r in chapter.runs if r != "A-LRN-S256"], chapter.columns))

# %% [markdown]
# Top-1 error in percent at Q = 256, mean ± standard deviation over n seeds. Below the five
# nets stand the controls. Rows within a column can be compared; columns cannot, since they differ in images,
# classes and size of the nets. On CIFAR-10 dense evaluation is the centre crop
# ([why](02_lrn.ipynb#the-errors)).

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-depth", "caption": "Top-1 error against the number of weight layers. The paper's panel is Table 3 by dense evaluation at S = Q = 256; ours are by centre crop and flip. A dot is a seed, the line joins the means of the nets with 3×3 layers only. C has as many layers as D, three of them 1×1."}}
nets.against_depth(BY_DEPTH, ("C-S256",), chapter.columns)
figures.show(chapter.in_words((*BY_DEPTH, "C-S256")))

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-depth-controls", "caption": "The controls: A and D as in the paper, with as much training on either side, and at another length. Top-1 error on CIFAR-10 by centre crop and flip; a dot is a seed, a line the mean."}, "image": {"alt": "Dots for A, A-from-A, A-he-long, A-short, D, D-he-long and D-short; D-he-long is the lowest, A-short and D-short the highest."}}
figures.dots(FAIR, [c for c in chapter.columns if c.data != "imagenette"])
figures.plt.show()

# %% [markdown]
# ## Had they converged?
#
# A deeper net needs more steps. Were it cut off too early, it would look worse than it is.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-depth-curves", "caption": "Error while training, measured in eval mode: full lines on minival, which is never trained on, dashed lines on as many training images. Lines are means over seeds, bands reach from the lowest to the highest."}, "image": {"alt": "Learning curves of A, B, D and E on minival and on training images, a panel for each data set."}}
chapter.curves(*BY_DEPTH)


# %% tags=["remove-input"]
chapter.still_moved(*BY_DEPTH)

# %% [markdown]
# If the deeper net also has the higher error on *training* images, it does not overfit: its
# training has not got as far. If only its minival error is higher, it does. After the last epoch,
# both in eval mode:

# %% tags=["remove-input"]
chapter.fit()

# %% [markdown]
# ## The verdict
#
# The error named first less the error named second, in points of top-1 error:
# positive is as the paper says, and from D to E, where the paper sees no change, that E errs more.
# Brackets are 95 % intervals over seeds; bold is the column that decides. Below each claim are
# its controls. With one seed an interval rests on the spread of the other nets alone.

# %% tags=["remove-input"]
chapter.differences()

# %% tags=["remove-input"]
chapter.agreement()

# %% tags=["remove-input"]
chapter.verdicts()

# %% [markdown]
# **A-he-long was declared after the three seeds of A and D were in** (`e7296fa`). D-he-long was a
# control from the first (`d2cb20b`), against A-from-A. Together they are the fair pair, and for just
# that reason it was looked for: what it says is exploration. The second round asks again with new
# seeds.
#
# What this cannot tell: the nets are narrow and the images small, so the last blocks work on maps
# of a few units, where another 3×3 layer has little left to see. Nor can it say where depth stops
# paying on large data. That is a matter of the data as much as of the net.
#
# ## The second round

# %% tags=["remove-input"]
chapter.second_errors(nets.lengths_table)

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-depth-second", "caption": "The second round. Top-1 error on CIFAR-10 by centre crop and flip, after two lengths of training. A dot is a seed, a bar the mean."}}
chapter.second_figure(nets.lengths, nets.lengths_table)

# %% tags=["remove-input"]
chapter.second_verdicts()

# %% [markdown]
# **The next question:** D differs from B in three layers. Is it the extra non-linearity that they
# bring, or the wider view? [](04_filters_1x1)
#
# ## Where the numbers come from

# %% tags=["remove-input", "hide-output"] mystnb={"code_prompt_show": "Every training, a line each", "code_prompt_hide": "Every training, a line each"}
chapter.trainings()

# %% tags=["remove-input"]
chapter.rerun()
