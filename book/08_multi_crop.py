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
# # Testing: the whole image or many crops?
#
# Is a net better tested on the whole image at once or on many crops of it, and is the difference
# worth its cost? The paper tests the same two nets both ways and averages the two. This chapter
# does so too, puts the protocols of AlexNet, GoogLeNet and OverFeat beside them on the same nets,
# and sets every error against the work it took.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters of a rerun", "code_prompt_hide": "Parameters of a rerun"}
budget: str = "reduced"  # of a rerun: smoke, quick, reduced, gpu or full
data: str = ""  # data set of a rerun; empty: the budget's first
seeds: int = 0  # how many seeds a rerun trains; 0: the budget's own number
rerun: bool = False  # True: train what is missing, then show it beside the recorded study
data_dir: str = ""  # folder with the data set; drawn images need none
results_dir: str = ""  # folder with the rerun's records; empty: rerun/ in the checkout

# %% tags=["remove-input"]
from IPython.display import Markdown

from vggrepro.pages import figures, protocols, report
from vggrepro.pages.page import Chapter
from vggrepro.study import store
from vggrepro.study.rules import three_q
from vggrepro.windows import PAPER_CROP

chapter = Chapter("08", budget, data, seeds, rerun, data_dir, results_dir)
crops = list(dict.fromkeys([PAPER_CROP, *(c.experiment("D-jitter").crop for c in chapter.columns)]))

# %% tags=["remove-input"]
chapter.in_short()

# %% [markdown]
# ## In plain words

# %% tags=["remove-input"]
found = chapter.found
d, e = chapter.runs
crops_of_d, dense_of_d = three_q(d, "multi-crop"), three_q(d)
shifted, both = three_q(d, "dense-shifted"), three_q(d, "multi-crop & dense")
crops_of_e, both_of_e = three_q(e, "multi-crop"), three_q(e, "multi-crop & dense")
Markdown(
    f"""
{found.basis(one_seed=True, imagenette="D-jitter")}

**In the mean many crops are ahead, and three seeds do not decide it:** by
{found.lower("imagenette", crops_of_d, dense_of_d)} points over dense evaluation at the same Q. The
trainings differ in how much: crops have {found.by_seed("imagenette", crops_of_d)} %, dense evaluation
{found.by_seed("imagenette", dense_of_d)} %, and why is open ([test scales](07_test_scales.html)). Dense
evaluation of a small image has few positions to average over, and at a large Q they show a part of
the object each. On shifted grids, with four times the positions, it gets back
{found.lower("imagenette", shifted, dense_of_d)} of these points, and
{found.lower("imagenette", crops_of_d, shifted)} remain.

**For D, both together gain nothing over crops.** They beat dense evaluation by
{found.lower("imagenette", both, dense_of_d)} points, but are within
{found.alike("imagenette", both, crops_of_d, within=0.5)} of the crops alone: the better half does
the work. Neither is decided, and E, one seed, is another case: there the two together beat crops by
{found.lower("imagenette", both_of_e, crops_of_e)}. In the paper, where both are about equally good,
their mean beats either.

**Part of the gain can be had for less.** The crops take five to seven times the multiply-adds of
dense evaluation. Shifted grids, for half of the crops' work here and seven tenths of it at the
paper's size, come within {found.alike("imagenette", shifted, crops_of_d, within=2)} points of them,
a difference that three seeds do not decide.
"""
)

# %% [markdown]
# ## The claim

# %% tags=["remove-input"]
chapter.quotes("multi-crop", "boundary", "crops-not-justified")

# %% [markdown]
# ## What the paper did, and what we changed
#
# The paper takes its two best nets, D and E trained with scale jitter, and tests each at three Q.
# *Dense evaluation* runs the net over the whole rescaled image and averages the map of class
# scores. *Multi-crop evaluation* cuts a regular 5×5 grid of crops out of the image at each Q. Both
# see every window as it is and mirrored. Images are photos of Imagenette
# {cite:p}`howard2019imagenette` here, since photos of CIFAR-10 are as small as one crop.

# %% [markdown]
# ## Where each protocol looks

# %% [markdown]
# ```{margin}
# The 5×5 grid is regular, not random. What it spans the paper does not say: here it is the whole
# rescaled image, corners included.
# ```

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-windows", "caption": "What each protocol looks at, at one of its Q and for the paper's crop, on a drawn image. The other Q are alike, and every window is also seen mirrored."}, "image": {"alt": "Seven copies of one drawn image. The centre crop sees a square in the middle, AlexNet's crops the central square, GoogLeNet's three squares, VGG's grid and dense evaluation all or nearly all of the image; OverFeat's map of scores is twice as fine as the dense one."}}
protocols.windows()
figures.plt.show()

# %% [markdown]
# - **AlexNet** {cite:p}`krizhevsky2012alexnet` takes the four corners and the centre of the central
#   square.
# - **GoogLeNet** {cite:p}`szegedy2015googlenet` takes those five of three squares at four Q, and
#   each square itself, resized to the crop. We resize the image once instead of the square.
# - **OverFeat** {cite:p}`sermanet2014overfeat` is dense too, but pools the last map at every offset
#   and takes the maximum over the map where VGG takes the mean. VGG describes no offsets. We take
#   the maximum before the soft-max, which OverFeat leaves open.
# - **Shifted grids** are a control of ours: dense evaluation on grids half a stride apart, at one Q or at three.
#
# AlexNet's and GoogLeNet's crops come with their own Q. A difference from dense evaluation mixes
# the layout with the scale, so dense evaluation at AlexNet's Q stands in the tables too.

# %% [markdown]
# ## The idea
#
# ```{margin}
# Are scores averaged over positions before soft-max or after? Read literally the paper averages
# scores, so before; flips, crops and Q are averaged after it.
# ```
#
# A protocol is a list of windows, and nothing else. The whole image is one window, a grid of crops
# is twenty-five.

# %% tags=["remove-input"]
chapter.source("windows", "dense_window")

# %% tags=["remove-input"]
chapter.source("windows", "grid_windows")

# %% [markdown]
# The net runs over every window in the same way, fully convolutionally; for a crop the map of
# scores has one position. All that follows is averaging: several Q, crops and dense evaluation
# together, even several nets are means of posteriors ([the code](07_test_scales.ipynb#the-idea)).

# %% [markdown]
# ```{margin}
# PyTorch's pooling rounds sizes down by default, Caffe's up. So the authors' maps may have had a
# position more on some sides, with padding in it; we have not seen their own code.
# ```
#
# **A trap for a comparison: where the grid falls.** With a small image the score map has one or two
# positions, and up to 31 pixels do not fit. Floor pooling leaves them out at the right and the
# bottom only. A grid of crops has no such flaw, so it could win for a reason that has nothing to do
# with crops. Here dense evaluation is trimmed on both sides alike, in every chapter.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-grid", "caption": "Dense evaluation for a crop of 64 px at Q = 256. Left: what pooling keeps when it rounds down. Right: the same size, centred."}, "image": {"alt": "Two copies of a drawn image; left the window misses the right and the bottom, right it misses a little on all sides."}}
protocols.grids(crop=64, test_scale=256)
figures.plt.show()

# %% [markdown]
# ## Why the two differ at all
#
# If the net saw nothing beyond its crop, dense evaluation would be a grid of crops 32 px apart. But
# D's receptive field is larger than the crop. Around a crop there are zeros, at the image and at
# every map in between. In dense evaluation there is the rest of the image.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-padding-reach", "caption": "The maps of a crop after each pool of net D. Blue units see pixels of the crop alone, orange ones may also see padding, in dense evaluation the neighbouring image. Below: the share of blue ones."}, "image": {"alt": "Five maps for each size of crop. The share of units that padding cannot reach shrinks from nearly all after the first pool to one unit or none after the last."}}
protocols.padding("D", crops)
figures.plt.show()

# %% tags=["remove-input"]
Markdown("\n".join(f"- {protocols.padding_sentence('D', crop)}" for crop in crops))

# %% [markdown]
# So nearly all that the classifier gets may differ between the two, which is the paper's reason to
# average them. How *much* it differs this arithmetic does not say.
#
# ## What each costs, and what it gives

# %% tags=["remove-input"]
report.show(protocols.protocol_table(chapter.runs, chapter.columns))

# %% tags=["remove-input"]
evaluations = store.frame().query("run in @chapter.runs and kind == 'eval' and budget == 'reduced'")
tested = evaluations.groupby(["run", "processor"]).seed.unique()
on = "; ".join(
    f"{run}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, sorted(seeds)))} on {processor}"
    for (run, processor), seeds in tested.items()
)
Markdown(
    f"Top-1 error in percent: the paper's on its validation images (Tables 3 to 5), ours on `val`, "
    f"mean ± standard deviation over n seeds. Work is multiply-adds for one image of shape 4:3 and its "
    f"mirror image, × is how many times that of a centre crop; overlapping crops compute the same "
    f"pixels again and again, dense evaluation once. Times are those of the recorded evaluations "
    f"({on}), with whatever else the machine did meanwhile: they show the order of magnitude. The "
    "centre crop is at a disadvantage: of an image rescaled to Q = 384 it sees the middle only."
)

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-protocol-costs", "caption": "Top-1 error of net D against what it costs, by arithmetic, for crops of 64 px; the work in G in the table above is that at 224 px. A dot is a seed, a bar the mean. The line joins what is better than all that is cheaper."}}
protocols.cost_and_error("D-jitter", chapter.columns)
said = [
    f"{protocols.label(e)}: {chapter.columns[0].cell('D-jitter', e).replace('<br>', ', ')}"
    for e in protocols.compared("D-jitter")
]
figures.show(f"Top-1 error of D in percent, the cheapest test first. {'; '.join(said)}.")

# %% [markdown]
# ## The verdict
#
# The error named first less the error named second, in points of top-1 error:
# positive is as the paper says. Brackets are 95 % intervals over seeds; bold is the column that
# decides. Beside
# the spread over seeds the photos have one of their own: claims about one net tested in two ways
# show its standard error too.

# %% tags=["remove-input"]
chapter.differences()

# %% tags=["remove-input"]
chapter.verdicts()

# %% [markdown]
# What this budget cannot decide: whether it is so at the paper's size. The score maps here have a
# few positions where the paper's have dozens, and padding reaches every unit of the last map. And a
# difference of the size that the paper reports is about what moving the grid does; hence the
# control.
#
# ## The second round

# %% tags=["remove-input"]
chapter.second_errors(protocols.errors_table)

# %% tags=["remove-input"]
chapter.second_verdicts()

# %% [markdown]
# **The next question:** crops and dense evaluation are two views of one net. What do two nets give?
# [](09_fusion)
#
# ## Where the numbers come from

# %% tags=["remove-input", "hide-output"] mystnb={"code_prompt_show": "Every training, a line each", "code_prompt_hide": "Every training, a line each"}
chapter.trainings()

# %% tags=["remove-input"]
chapter.rerun()
