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
# # Scale jitter: one training scale or many?
#
# Does a net that is trained at many image scales err less than one trained at a single scale?
# In the paper it does, clearly. But its jittered nets were also trained for longer. This chapter
# repeats the comparison, and then takes that advantage away.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters of a rerun", "code_prompt_hide": "Parameters of a rerun"}
budget: str = "reduced"  # of a rerun: smoke, quick, reduced, gpu or full
data: str = ""  # data set of a rerun; empty: the budget's first
seeds: int = 0  # how many seeds a rerun trains; 0: the budget's own number
rerun: bool = False  # True: train what is missing, then show it beside the recorded study
data_dir: str = ""  # folder with the data set; drawn images need none
results_dir: str = ""  # folder with the rerun's records; empty: rerun/ in the checkout

# %% tags=["remove-input"]
from IPython.display import Markdown

from vggrepro.pages import figures, nets, report, scales
from vggrepro.pages.page import Chapter
from vggrepro.study import store
from vggrepro.study.decisions import decide
from vggrepro.study.rules import three_q

chapter = Chapter("06", budget, data, seeds, rerun, data_dir, results_dir)
NETS = [[run for run in chapter.runs if run.startswith(net)] for net in "CDE"]
PAIR = ("D-S384-longer", "D-jitter")

# %% tags=["remove-input"]
chapter.in_short()

# %% [markdown]
# ## In plain words

# %% tags=["remove-input"]
found = chapter.found
decided = decide("jitter-equal-epochs", store.RECORDED)
inside = decided.claim.matters + decided.decided_by.low
longer, jittered = (scales.errors_by_scale(chapter.columns[0], run)[512] for run in PAIR)
alive = ", ".join(f"{points:+.1f}" for points in longer - jittered)
Markdown(
    f"""
{found.basis(imagenette="D-jitter")}

**As the paper compares them, jitter wins.** The jittered D errs less than the D at S = 384 from
which it started, by {found.lower("imagenette", "D-jitter", "D-S384")} points by centre crop.

**By centre crop longer training accounts for it.** The control, which goes on at S = 384 for as many epochs from
the same weights, gains {found.lower("imagenette", "D-S384-longer", "D-S384")} points without any
jitter; between the two there are
{found.alike("imagenette", "D-jitter", "D-S384-longer", within=1)} points. The paper's Table 3 has
no such control, so its gain cannot be divided like this.

**Going on at larger S does not pay by itself.** With each net at its own single Q, the D at S =
256, from which the chain goes on, errs less than the jittered one by
{found.lower("imagenette", "D-S256", "D-jitter")} points by centre crop. At S = 384 a crop shows a
smaller part of the image, and the centre crop of a test image leaves more of it out: that is a
matter of Q as much as of training. Tested densely at its three Q, the jittered net is the better
one, by {found.lower("imagenette", three_q("D-jitter"), three_q("D-S256"))} points ([the chapter on
test scales](07_test_scales.html) has the scales one by one).

**The verdict *negligible* hangs on a hair.** The interval that decides ends {inside:.4f} points
inside the margin.
And jitter was hardly alive: at Q = 512, which the jittered net has seen in training and the control
has not, the two differ by {alive} points, seed by seed. At the rate of fine-tuning the last stage
hardly moves the net.

**Three seeds are three lineages.** Each jittered net and its control go back to one net A, over
D at S = 256 and S = 384; what that chain has by chance all its nets have.
"""
)

# %% [markdown]
# ## The claim

# %% tags=["remove-input"]
chapter.quotes("jitter-training")

# %% [markdown]
# ## What the paper did, and what we changed
#
# S is the shortest side of a training image after rescaling; the net sees a random crop of it.
# The paper trains C, D and E three times: at S = 256; from those weights on at S = 384; and from
# there on with S drawn anew for every image between 256 and 512. Each is tested at one Q.
#
# So the jittered net went on from the S = 384 net that it is compared with. It differs in its
# scales, and in all the epochs that it had in addition. The control that the paper lacks goes on
# from the same weights for equally many epochs, at the same rates, and keeps S = 384. It has the
# suffix *longer* below.

# %% [markdown]
# ```{margin}
# The paper gives the rate of fine-tuning, $10^{-3}$, for S = 384 only, and no number of epochs for
# either stage. Jitter is sometimes said to start from S = 256 or 384; the paper says 384.
# ```

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-jitter-chain", "caption": "The trainings of net D, generated from their declarations: who starts from whom, S in pixels, epochs and the first learning rate. The last two differ in S alone. C and E go the same way."}, "image": {"alt": "A diagram: net A at S = 256 gives layers to net D at S = 256, whose weights go to S = 384, and from there to both the jittered net and the control that stays at S = 384."}}
scales.chain(PAIR[::-1], chapter.columns[-1])
figures.plt.show()

# %% [markdown]
# ## The idea
#
# A crop has the same number of pixels at every S. At S = 256 it shows most of the image; at
# S = 512 it shows less than half of the shortest side, and everything in it is twice as large.

# %% tags=["remove-input"]
chapter.source("windows", "random_window")

# %% [markdown]
# ```{margin}
# The paper says that S is drawn from a range, not how. Here every whole number of pixels is equally
# likely. In a small geometry the range has fewer of them: S shrinks with the crop.
# ```

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-jitter-crops", "caption": "What a net sees of one drawn image at three S: where four random crops lie, then their pixels. A net at a fixed S knows one of the rows, a jittered net all of them and what is between."}, "image": {"alt": "Three rows for S = 256, 384 and 512. On the left a drawn image with four outlined squares, smaller at larger S; on the right the four crops, in which the figure is larger and less complete at larger S."}}
scales.crops((256, 384, 512), chapter.columns[-1].experiment("D-jitter").crop)
figures.plt.show()

# %% [markdown]
# ## The errors
#
# Each net at the Q of Section 4.1: its S, and for a jittered net the middle of the range,
# $Q = 0.5\,(S_\min + S_\max)$.

# %% tags=["remove-input"]
table = nets.error_table(chapter.runs, chapter.columns)
report.show(table.set_axis([scales.name_of(run) for run in chapter.runs]))

# %% [markdown]
# Top-1 error in percent, the paper's in its Table 3, ours as mean ± standard deviation over n
# seeds. Dense evaluation is the paper's protocol. The centre crop and its flip decide, since a
# small image has only a few positions for dense evaluation to average over.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-jitter-dots", "caption": "Top-1 error of each training by centre crop and flip, at Q = S, or 384 for a range. A dot is a seed, a bar the mean. Grey lines join a seed's net with those that went on from its weights."}}
scales.trainings(NETS, chapter.columns)
figures.show(chapter.in_words([run for runs in NETS for run in runs]))

# %% [markdown]
# ## Each at its best Q
#
# One Q for both sides favours the net that was trained there. So both are also tested at several
# Q, by dense evaluation, and each is taken at its best (bold). The best is picked on the images
# that it is reported on, alike for both.

# %% tags=["remove-input"]
report.show(scales.by_scale_table(PAIR[::-1], chapter.columns))

# %% [markdown]
# ## Had they converged?

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-jitter-curves", "caption": "Error while training of the jittered D and of its control, in eval mode: full lines on minival, which is never trained on, dashed lines on as many training images. Lines are means over seeds, bands reach from the lowest to the highest."}, "image": {"alt": "Learning curves of the jittered net D and of the net that goes on at S = 384, on minival and on training images."}}
chapter.curves(*PAIR)

# %% tags=["remove-input"]
chapter.still_moved(*PAIR)

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

# %% [markdown]
# What cannot be decided here: whether jitter gains as much at the paper's size. A net has to learn
# every class at every scale. A narrow net, few photos and a short schedule may leave it too little
# room for that.
#
# ## The second round

# %% tags=["remove-input"]
chapter.second_errors(scales.by_scale_table)

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-jitter-second", "caption": "The second round. Top-1 error on Imagenette by dense evaluation against Q: the mean of the seeds, with a band from the lowest to the highest. Below, the S of training."}}
chapter.second_figure(scales.curve, scales.by_scale_table)

# %% tags=["remove-input"]
chapter.second_verdicts()

# %% [markdown]
# **The next question:** a net that knows many scales can be tested at many. Is that better than
# one? [](07_test_scales)
#
# ## Where the numbers come from

# %% tags=["remove-input", "hide-output"] mystnb={"code_prompt_show": "Every training, a line each", "code_prompt_hide": "Every training, a line each"}
chapter.trainings()

# %% tags=["remove-input"]
chapter.rerun()
