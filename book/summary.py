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
# # The study in brief
#
# Which of the VGG paper's claims hold when its nets are trained again, small, on small photos? This
# page is the whole report. Its numbers are generated from the records.
#
# ## In plain words

# %% tags=["remove-input"]
from dataclasses import replace

from IPython.display import Markdown

from vggrepro.pages import figures, report, summary
from vggrepro.pages.verdicts import Verdicts, in_nats
from vggrepro.study import store
from vggrepro.study.claims import claim_named
from vggrepro.study.rules import one_q, three_q

figures.use_style()
found, verdicts, table = report.Findings(), Verdicts(), store.frame()
dense, several, crops = (
    one_q("D-jitter"),
    three_q("D-jitter"),
    three_q("D-jitter", "multi-crop"),
)
a_to_d = replace(claim_named("depth-a-to-d"), data="imagenette", metric="log_loss")
loss = found.study.interval(a_to_d)
Markdown(
    f"""
- {" ".join(summary.depth_sentences(verdicts, found))} There D has
{found.error("imagenette", "D-S256")} % and A {found.error("imagenette", "A-S256")} %; in log-loss
A − D is {in_nats(loss)}. As the paper compares them, without that control, D is ahead of A by
{found.lower("cifar10", "D-S256", "A-S256")} points on CIFAR-10. See [depth](03_depth.html) and
[starts](10_initialisation.html).
- **Layers of 1×1 do harm, at this length of training.** C errs more than B by
{found.lower("cifar10", "B-S256", "C-S256")} points, on training images too
({found.fits_worse("cifar10", "C-S256", "B-S256")}). D is ahead of C by
{found.lower("cifar10", "D-S256", "C-S256")}, of a C as heavy as itself by
{found.lower("cifar10", "D-S256", "C-wide-S256")}; neither is decided:
[filters of 1×1](04_filters_1x1.html).
- **Small filters show no clear gain:** two 3×3 are
{found.lower("cifar10", "B-he", "B-5x5-he")} points ahead of one 5×5, and one 7×7 is ahead of three
3×3 by {found.lower("cifar10", "D-7x7-he", "D-he")}. The nets with large filters are shallower and
learn faster: [large filters](05_large_filters.html).
- **Whether LRN helps is open:** {found.lower("cifar10", "A-LRN-S256", "A-S256")} points for the
better in the mean on CIFAR-10, and seeds differ in sign: [normalisation](02_lrn.html).
- **Jitter gains what longer training gains.** The jittered D is
{found.lower("imagenette", "D-jitter", "D-S384")} points better than the net it went on from; the same
extra epochs without jitter gain {found.lower("imagenette", "D-S384-longer", "D-S384")}:
[jitter](06_scale_jitter.html).
- **Looking several times gains in the mean, and three trainings do not decide it:** three test
scales take {found.lower("imagenette", several, dense)} points off the error of the jittered D, many
crops {found.lower("imagenette", crops, several)} more (in the paper
{claim_named("multi-crop-beats-dense").paper.difference:.1f}). Trainings that are alike at their own
scale differ by many points at a larger one: [test scales](07_test_scales.html), [crops](08_multi_crop.html).

{found.basis(cifar10="D-S256", imagenette="D-jitter")}
"""
)

# %% [markdown]
# ## Scope and method
#
# The subject is {cite:t}`simonyan2015vgg`, Tables 1 to 7 and the sentences around them. Left out are
# its appendices, on localisation and on features for other tasks, and its absolute errors: no net
# here is trained on ILSVRC-2012. The nets have the paper's layers and a fraction of their channels,
# the photos are CIFAR-10 and Imagenette. A verdict is about this scale; nothing here can show that
# the paper is wrong.
#
# Every net of Table 1 is trained with one recipe for each set of photos
# ([the recipe](recipe.ipynb)). A difference in error is taken over seeds, has a 95 % interval and is
# read against zero and against the smallest difference that matters, both fixed beforehand; with
# fewer seeds than were fixed nothing is decided. Two of the words, and the statistic of LRN's time,
# came when the results were known. Where a comparison of the paper changes two things
# at once, a control changes one. For want of hours the number of seeds on Imagenette was cut once,
# after the first seed. [](method.ipynb) has every rule, what was fixed when, and how often the rules
# are wrong.
#
# ## The primary claims

# %% tags=["remove-input"]
Markdown(
    f"{summary.main_claim(verdicts)} {summary.of_scale(verdicts)}\n\n"
    f"{summary.primary_sentence(verdicts)} "
    f"{summary.counts_sentence(table)}"
)

# %% tags=["remove-input"]
report.show(verdicts.board(lambda claim: claim.primary), "words wrapped board")

# %% [markdown]
# Positive: as the paper says; from D to E, where it sees no change, that E errs more. *Inside* and *outside*: whether the 95 % interval holds the paper's own
# number. All claims of the first round by their word; the secondary ones stand on the [front page](index.ipynb):

# %% tags=["remove-input"]
report.show(summary.counts_table(verdicts))

# %% tags=["remove-input"]
Markdown(
    f"{verdicts.not_after_holm()}\n\n**Do the two sets of photos agree?** "
    f"{summary.disagreement_sentence(verdicts)}"
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-overview", "caption": "Every claim about errors: A − D is by how much the error falls from A to D. Large marks: the photos that decide the claim, their mean, 95 % interval and a dot for each seed. Below them, grey: the other photos. Hollow: the second round, once it is complete. Diamonds: the paper, where it gives a number. Grey fields: differences smaller than what matters. Bold with a star: primary. A verdict takes the interval at the level of its rule, which is not always the one drawn. Beyond a point the axis is about logarithmic."}, "image": {"alt": "A line for each claim, by chapter: the paper's difference in top-1 error as a diamond, the recorded one with its interval, and its verdict. Most intervals cross zero."}}
summary.overview(verdicts)
figures.plt.show()

# %% [markdown]
# No number of seeds decides what the scale leaves out: whether a difference would be the same in
# nets of full width, at the paper's 224 px, with a thousand classes. Each chapter says what its
# claims leave open.
#
# ## What was easy
#
# - The architecture. Table 1 says it all, and the numbers of parameters in Table 2 check it.
# - The test protocols, as far as they go: a fully-connected layer as a convolution is a reshape.
# - Getting the arithmetic right: the paper's own numbers for filters and weights follow from it.
# - Comparing sides fairly by seed, once every draw depends on the seed, the epoch and the image
#   alone.
#
# ## What was difficult
#
# - **A start from which deep nets train.** The paper's sentence on it can be read in two ways, the
#   start that decides depends on the width of the net and on the scale of its inputs, and starting
#   from net A is extra training that needs a control: [](10_initialisation.ipynb).
# - **Deep nets that stay at chance.** Such a net has an error like any other, and one among the
#   seeds makes a mean meaningless. So every table of errors marks them.
# - **A recipe that does not favour a depth.** One that suits eleven layers leaves nineteen
#   unfinished; a recipe counts by its worst net.
# - **LRN that does anything.** Its constants are for pixels from 0 to 255. With scaled inputs and
#   the same α the layer is a constant factor: [](02_lrn.ipynb).
# - **The grid of dense evaluation.** A small image has few positions, and pooling that rounds down
#   drops a border on two sides only. A comparison of protocols then measures where the grid falls:
#   [](08_multi_crop.ipynb).
# - **What jitter does by itself.** In the paper a jittered net is the last of a chain of three
#   trainings; the control is a net that is trained as long at a fixed scale:
#   [](06_scale_jitter.ipynb).
# - **Speed without a GPU.** Handling images well makes a training faster until the convolutions are
#   most of it, and then the processor decides: [](11_costs.ipynb).
#
# ## What the paper leaves open
#
# | the paper | what it leaves open | here |
# |---|---|---|
# | Section 3.1, initialisation | whether $10^{-2}$ is a variance or a standard deviation | the latter at the budget `full`, He's rule at all others; both are tried |
# | Section 3.1, “first four” layers of net A | where they go in nets whose first block has two | where their shapes fit, in blocks 1 to 3 |
# | Section 3.1, learning rate | what counts as accuracy that stopped improving | fixed epochs; at full size, six epochs without a better minival |
# | Section 3.1, S = 384 and jitter | how long they train; the rate for jitter | fixed epochs for each stage, the rate of S = 384 |
# | Section 3.1, jitter | how S is drawn | whole numbers, all as likely |
# | Section 3.1, colour shift | whether it is on in all stages | in all |
# | Section 3.1, weight decay | whether biases have it too | they do |
# | Section 3.2, dense evaluation | whether scores or posteriors are averaged over positions | scores, then soft-max |
# | Section 3.2, crops | whether the grid of crops reaches the edges of the rescaled image | it does |
# | Sections 3.1 and 3.2, rescaling | the interpolation | bilinear, antialiased |
# | Section 2.1, LRN | whether α is divided by the window, as in Caffe | it is not |
# | Section 4.1, the net with larger filters | its error, how it was trained, and whether “7%” are points | trained as B, both from He's start; points |
# | Section 4, all tables | how much a training varies: each is one training, as far as one can tell | several seeds |
# | Section 4, validation | how far the learning rate, steered by the images that are reported on, flatters | minival steers, val is reported |
#
# ## Communication with the authors
#
# None.
#
# ## Deviations from the paper
#
# Declared ones, of all trainings at the recorded budget, generated by comparing each declaration with
# the paper's. Where the paper is silent, as on epochs after S = 256, its column holds what the
# budget `full` takes.

# %% tags=["remove-input"]
report.show(summary.declared_table(("cifar10", "imagenette")), "words wrapped leading")

# %% [markdown]
# The fields in which the other budgets deviate, none of which is part of the recorded study:

# %% tags=["remove-input"]
Markdown(summary.other_budgets())

# %% [markdown]
# And what the code remarks where it deviates:
#
# - `data.images.load`: Minival is held out of the training images. The paper steers its rate by
#   the images that it also reports on (Sections 3.1 and 4).
# - `models.VGG`: LRN's α is multiplied by s² where inputs are divided by s: the paper's are 0 to
#   255, and LRN would else do next to nothing.
# - `recipe.learning_rate_at`: A fixed schedule costs the same for every net; Section 3.1 watches
#   validation accuracy.
# - `study.experiments.FUSIONS`: The jittered D of the submission is jittered as a whole; in the
#   paper in its FC layers only (Section 4.4).
# - `study.starts.CROP`: First steps are trained on crops of 64 px; the signal before them is
#   measured at 224 px as well.
# - `study.starts.BATCH`: A first step takes 32 images, drawn ones unless others are named.
# - `study.starts.PARENT`: The net A of which they take layers had first steps only.
# - `trainer.sgd`: PyTorch multiplies the velocity by the learning rate; Caffe and AlexNet keep
#   the rate inside it. They differ after a drop only, which here slows the old velocity, too.
# - `windows.dense_window`: Images are trimmed on both sides alike, where floor pooling would drop
#   up to 31 px at the right and at the bottom.
# - `windows.googlenet_windows`: The image is rescaled once, to the smaller size to which Szegedy
#   et al. (2014) shrink the square that they cut.
#
# ## Cost

# %% tags=["remove-input"]
report.show(summary.cost_table(table), "numbers")

# %% tags=["remove-input"]
later = "" if verdicts.second else " The second round is counted once it is complete."
Markdown(f"Made on {summary.joined(sorted(table.processor.unique()))}.{later}")

# %% [markdown]
# A core-hour is an hour of wall time on one thread. A pass over the
# images that serves several evaluations counts once. A training that was recorded twice has both its
# times here, and is one training above. Only records are counted: trial runs before the study, and runs
# that were made again, are not among them.
#
# To check any of it, see [](rerun.md); every record is in `results/`, and `vggrepro verify` counts
# its errors again from the outcome of every image.
