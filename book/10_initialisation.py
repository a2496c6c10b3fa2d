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
# # Initialisation: why does my VGG not train?
#
# Why does a VGG that is built to the letter of the paper blow up or sit at chance, and what is to
# be done? People have asked since the paper came out. The answer is a product of nineteen numbers,
# one for each layer, and it can be measured before the first step.

# %% [markdown]
# ```{margin}
# Asked in public:
# [2015](https://github.com/facebookarchive/fbcunn/issues/75),
# [2016](https://github.com/NVIDIA/DIGITS/issues/535),
# [2017](https://github.com/tensorflow/models/issues/991),
# [2018](https://github.com/apache/mxnet/issues/9866),
# [2019](https://github.com/arashno/tensorflow_multigpu_imagenet/issues/18).
# In a hurry? {ref}`If your VGG does not train <does-not-train>`.
# ```

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters of a rerun", "code_prompt_hide": "Parameters of a rerun"}
budget: str = "reduced"  # of a rerun: smoke, quick, reduced, gpu or full
data: str = ""  # data set of a rerun; empty: the budget's first
seeds: int = 0  # how many seeds a rerun trains; 0: the budget's own number
rerun: bool = False  # True: train what is missing, then show it beside the recorded study
data_dir: str = ""  # folder with the data set; drawn images need none
results_dir: str = ""  # folder with the rerun's records; empty: rerun/ in the checkout

# %% tags=["remove-input"]
from IPython.display import Markdown

from vggrepro.pages import figures, report, starts
from vggrepro.pages.page import Chapter
from vggrepro.study import starts as declared
from vggrepro.study.records import LEARNS
from vggrepro.windows import PAPER_CROP

photos = ("cifar10",)
chapter = Chapter("10", budget, data, seeds, rerun, data_dir, results_dir, photos=photos)
records = starts.shown(chapter.rerun_column)

# %% tags=["remove-input"]
chapter.in_short()

# %% [markdown]
# ## In plain words

# %% tags=["remove-input"]
found = chapter.found
Markdown(
    f"""
{found.basis(one_seed=True, cifar10="D-S256")}

**A fixed 0.01 trains nothing here, read either way.** As a variance the loss is no longer
finite within the first epoch; as a standard deviation A and D stay at chance
({found.error("cifar10", "A-normal-std")} and {found.error("cifar10", "D-normal-std")} %), which is
what the arithmetic below says of nets that are this narrow. At full width, in the first steps
below, neither reading serves any of the three nets better.

**He's rule trains all of these narrow nets,** E too ({found.error("cifar10", "E-he")} %), and none needs net A.

**Glorot's rule falls behind with depth.** A is as good with it as with He's
({found.error("cifar10", "A-glorot")} and {found.error("cifar10", "A-he")} %). D's seeds have
{found.by_seed("cifar10", "D-glorot")} % where from He's start they have
{found.by_seed("cifar10", "D-he")} and from net A {found.by_seed("cifar10", "D-S256")}: one never
leaves chance, and the others are behind. E does not leave it at all
({found.error("cifar10", "E-glorot")} %). The rule does not count ReLU, so the signal loses a part of
its size in every layer. The paper's later remark, that Glorot's rule makes net A unnecessary,
does not hold at these sizes: sixteen layers train from it unreliably, nineteen not at all.

**Net A's start gives less than the same epochs in one go.** D from He's start
with the epochs of A and D together errs less than D from net A by
{found.lower("cifar10", "D-he-long", "D-S256")} points. Where the start is no longer the trouble,
the epochs are better spent on the deep net itself.
"""
)

# %% [markdown]
# Both are decided at a quarter of the width on scaled pixels. Whether the authors *needed* net A
# hangs on the width, the pixels and the $\sigma$ that they had. That is what the first half of this
# chapter looks at.
#
# ## The claim

# %% tags=["remove-input"]
chapter.quotes("bad-initialisation", "init-normal", "init-from-a", "init-glorot")

# %% [markdown]
# ## What the paper did, and what we changed
#
# ```{margin}
# **Variance or standard deviation?** The paper says variance. AlexNet, from which much of the
# recipe comes, has $10^{-2}$ as the *standard deviation*, ten times smaller. We found nothing that
# says which of the two the authors ran, so both are measured.
#
# **The first four layers?** By position only the first convolution of net A fits a deeper net.
# Where the shapes fit is conv1_1, conv2_1, conv3_1 and conv3_2; the paper does not say.
# ```
#
# Net A is trained from random weights. Deeper nets take their first four convolutions and their
# three FC layers from the trained A, and the rest is random. Later the authors found that the rule
# of {cite:t}`glorot2010understanding` makes this unnecessary. So there are five ways to start, of
# which the fifth, by {cite:t}`he2015delving`, came after the paper.
#
# This chapter looks at them twice. First at **full width** on pixels from 0 to 255, as in the
# paper: the signal before the first step, then some steps. Starts decide most there. Two controls
# stand beside them: He's rule on pixels of unit scale, as is usual today, and what PyTorch does by
# itself. Then in **whole trainings** of narrow nets on scaled pixels
# ([all that is changed](summary.ipynb)).
#
# ## The idea
#
# A layer sums over its fan-in $n$: the kernel's area times the channels that it reads. With random
# weights of standard deviation $\sigma$ the sum's mean square is $n \sigma^2$ times the input's,
# and ReLU keeps half of it. Backwards the same holds with the fan-out $m$. So each layer
# multiplies the root mean square of activations $x$ and of gradients $g$ by
#
# $$\frac{\mathrm{rms}(x_l)}{\mathrm{rms}(x_{l-1})} = \sigma_l \sqrt{n_l / 2},
# \qquad \frac{\mathrm{rms}(g_{l-1})}{\mathrm{rms}(g_l)} = \sigma_l \sqrt{m_l / 2}$$
#
# and a net by the product over its layers. Above one it grows with depth, below one it fades. He's
# rule sets the first to one. Glorot's is a compromise between the two that does not count ReLU. A
# fixed $\sigma$ is right for one fan-in only, so it also depends on the *width* of the net.

# %% tags=["remove-input"]
chapter.source("models", "INITIALISATIONS")

# %% tags=["margin", "remove-input"]
gain = starts.gain("pytorch", *starts.fans("E")["conv5_1"])
whole = starts.number(starts.whole_gain("E", "pytorch"))
Markdown(
    "**PyTorch's own start**, which a `Conv2d` or `Linear` has until somebody changes it, is none "
    f"of these: every layer's gain is {gain:.2f}, whatever its size, and net E's "
    f"{len(starts.fans('E'))} layers together have {whole} (biases left aside, which are not "
    "zero there)."
)

# %% [markdown]
# What the formula gives for single layers, by their channels in and out, and for whole nets, from
# the size of a pixel to that of a logit:

# %% tags=["remove-input"]
report.show(starts.gains_table())

# %% [markdown]
# Gains by arithmetic, without pooling. They start from pixels between 0 and 255, and a logit should
# end near one: soft-max takes its exponential.
#
# ## The signal before the first step

# %% tags=["remove-input"]
first = records[0]
e, ran = first.experiment, first.provenance
Markdown(
    f"Measured at full width on {report.DATA_NAMES[e['data']]}: the signal on "
    f"{first.before[0].images} photos, in float32; then {first.steps} steps of {e['batch_size']} "
    f"crops of {e['crop']} px in {first.precision}, with the paper's momentum, weight decay and "
    f"dropout, and its rate unless another is named. {len(records)} starts, seed {first.seed}, "
    f"{sum(r.provenance.wall_seconds for r in records) / 60:.0f} minutes on {ran.processor}, "
    f"{ran.threads} thread."
)

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-init-signal", "caption": "Size of activations (behind ReLU; logits for the last layer) and of gradients (of an image's loss, before ReLU) at every layer of nets A, D and E before the first step, crops of 224 px. Thin dashed lines: the formula, without pooling. From net A: at the crop that net A was trained on."}, "image": {"alt": "Six panels with a logarithmic axis: activations and gradients by layer for nets A, D and E, a line for each start. A normal start of variance 0.01 grows by layer, one of std 0.01 fades, He's stays level."}}
starts.signals(records)
figures.plt.show()

# %% tags=["remove-input"]
said = []
for name in ("normal-variance", "normal-std", "glorot", "he"):
    for record in [record for record in records if record.run == f"E-{name}"][:1]:
        signal = record.signal_at(PAPER_CROP)
        forward = starts.number(signal.activation[-2] / signal.input)
        back = starts.number(signal.gradient[0] / signal.gradient[-1])
        label = declared.STARTS[name].label
        said.append(f"{label}: activations × {forward}, gradients × {back}")
Markdown(
    "What net E makes of the signal, measured: of the input's size by fc7, and of the logits' "
    f"gradient on the way back to conv1_1. {'; '.join(said)}."
)

# %% [markdown]
# Three things to know when reading it. Max-pooling picks the larger values, so what is measured
# lies somewhat above the formula. The gradient at the logits is never larger than one, however
# wrong they are, and what goes back from there is multiplied layer by layer too. And biases that
# are not zero (PyTorch's own, and those of a trained net A) hold activations up, but alike for
# every image: where activations look fine and gradients fade, nothing about the image gets through.
#
# ## The first steps
#
# The same nets, trained for a moment with the paper's optimizer.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-init-losses", "caption": "Loss of the first steps near chance, a mean over the last twenty, for nets A, D and E. Grey: chance, the logarithm of the number of classes. What diverged is named, with its first loss."}, "image": {"alt": "Three panels, one for each net, with the loss by step from each start. From Glorot's start A and D fall below chance; D does so from He's start on scaled pixels too, at a tenth of the rate, and stays at chance at the full one."}}
starts.losses(records)
figures.plt.show()

# %% tags=["remove-input"]
report.show(starts.first_steps_table(records))

# %% tags=["remove-input"]
missing = [name for name in declared.DECLARED if name not in {record.run for record in records}]
Markdown(
    "Above, what the first step moves a weight by, as a share of the weight's size, in the median "
    "layer; below, what became of the net. It *learns* if its loss, a mean over the last tenth of "
    f"the steps, is below {LEARNS:.0%} of chance, which is {first.chance:.2f} here. *At chance* "
    "after so few steps is no proof: it may still leave. *Dead* is one: no unit of fc7 lets anything "
    "through, so there is no gradient."
    + (f" Not run: `{starts.COMMAND} {' '.join(missing)}`." if missing else "")
)

# %% [markdown]
# The crops of the steps are smaller than the paper's, so fc6 sums over fewer places and the small
# signals are smaller still. And net A, from which the last rows start, had no more than these
# steps itself. What a fully trained A does for D is the next section's subject.
#
# ## Whole trainings
#
# Nets of a quarter of the width on scaled pixels of CIFAR-10, all else equal. By the formula narrow
# layers have half the gain where $\sigma$ is fixed, and the same by He's or Glorot's rule.

# %% tags=["remove-input"]
report.show(starts.trained_table(chapter.columns[0]))

# %% [markdown]
# Top-1 error in percent by centre crop and flip, mean ± standard deviation over seeds; seed by
# seed where a net stayed at chance, which is nine of ten wrong. *From net A* is extra training as
# well, and there the random layers are He's.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-init-curves", "caption": "Error while training, measured in eval mode: full lines on minival, dashed lines on training images. Lines are means over seeds, bands reach from the lowest to the highest; where a net stalled in one of its seeds, each seed has its own line. A net at chance can err on every image, as one does in an epoch of E with std 0.01."}, "image": {"alt": "Learning curves of nets A, D and E, a panel each and a line for each start: He's and net A's fall at once, Glorot's later and in one seed of D not at all, std 0.01 stays at chance in D and E."}}
starts.trainings(chapter.columns[-1])
figures.plt.show()

# %% [markdown]
# ## The verdict
#
# The error named first less the error named second, in points of top-1 error:
# positive is as the paper says. Brackets are 95 % intervals over seeds; bold is the column that
# decides. Where
# a net stayed at chance the seeds stand by themselves: no interval says anything of them.

# %% tags=["remove-input"]
chapter.differences()

# %% tags=["remove-input"]
chapter.verdicts()

# %% [markdown]
# (does-not-train)=
# ## If your VGG does not train
#
# In this order. Each step has what was measured for it, at full width; one seed, few steps, one set
# of photos.
#
# **1. Let the first steps say what is wrong.** On your own photos, in the [environment](rerun) of
# `make`:
#
# ```bash
# vggrepro first-steps D-he-scaled D-he-scaled-slow D-glorot --data folder --data-dir PHOTOS
# ```
#
# ends in a sentence for each start: what is wrong, and which start and rate to take. These are its
# words, the first that holds, and the starts above of which it says them:

# %% tags=["remove-input"]
said = starts.named_by_what_is_wrong(records)
Markdown(
    f"""
- **learns**, as above ({said["learns"]}).
- **dead**, as above ({said["dead"]}). Nothing will wake it: smaller steps, another start.
- **saturated**: the first loss is above {declared.SATURATED} times chance
  ({said["saturated"]}). The signal is too large before any step; the data may be fine. Scale the
  pixels, change the start.
- **diverges**: the first loss is not, and a later one is no number
  ({said["diverges"]}). Take a tenth of the rate.
- **overshoots**: a later loss is above {declared.OVERSHOT} times chance, and the net came back to it
  ({said["overshoots"]}). Take a tenth of the rate.
- **fades**: at chance, and the first step moves a weight by less than
  {starts.number(declared.FADED)} of its size ({said["fades"]}). Too little of the signal comes
  through; change the start.
- **at chance**: none of these ({said["at chance"]}). Give it more steps.

**Which start?** At full width A learned from Glorot's start; D from Glorot's too, and from He's on
scaled pixels at a tenth of the rate; E from the latter only. Of D's two He's is the better: Glorot's start of D stalled in one of its
whole trainings. Net B, of
thirteen layers, was not measured; it lies between A and D and may take what serves D.
"""
)

# %% [markdown]
# **2. Measure the signal.** Any VGG without normalisation will do, torchvision's too:
#
# ```python
# from vggrepro.signal import measure
#
# layers = {name: m for name, m in model.named_modules() if hasattr(m, "weight")}
# for name, at in measure(model, layers, images, targets).items():
#     moved = learning_rate * at.weight_gradient / at.weight
#     print(f"{name:15}{at.activation:10.2g}{at.gradient:10.2g}{moved:10.2g}")
# ```
#
# Activations and gradients should keep their order of magnitude over many layers. The last column
# is the share of its size by which the first step moves a weight. Compare it with the starts above
# that learn.
#
# **3. Change the start.** Not a fixed standard deviation, but one that knows the fan-in.

# %% tags=["remove-input"]
std = ("D-normal-variance", "D-normal-std", "D-glorot")
Markdown(starts.evidence(records, "Net D, pixels as they are", *std))

# %% [markdown]
# **4. With He's start, scale the pixels and lower the rate.** He's rule keeps the size of its input,
# so logits start as large as pixels are: divide by their standard deviation. That keeps the loss
# finite. The paper's rate is still too much for all three nets. At a tenth of it D and E learn; A was not
# tried.

# %% tags=["remove-input"]
he = ("he", "he-scaled", "he-scaled-slow")
Markdown(
    "\n\n".join(
        starts.evidence(records, f"Net {net}", *(f"{net}-{name}" for name in he)) for net in "DE"
    )
)

# %% [markdown]
# **5. Do not leave it to PyTorch.** A net that nobody initialises has PyTorch's own start, which
# was not made for ReLU (`torchvision.models` does initialise its VGGs): the signal fades.

# %% tags=["remove-input"]
Markdown(starts.evidence_by_net(records, "pytorch"))

# %% [markdown]
# **6. Then wait.** A net may sit at chance for a while even from a good start, and a deeper one
# for longer. {numref}`fig-init-losses` has the measure of what to expect.
#
# Not measured here, and to be checked all the same: dropout belongs behind the ReLUs of fc6 and fc7
# and works in training only (`model.train()`, `model.eval()`); no soft-max before
# `CrossEntropyLoss`. `vggrepro first-steps` without names repeats all of the above.
#
# **The next question:** what does it all cost, here and at the paper's size? [](11_costs)
#
# ## Where the numbers come from

# %% tags=["remove-input", "hide-output"] mystnb={"code_prompt_show": "Every start, a line each", "code_prompt_hide": "Every start, a line each"}
report.show(starts.provenance_table(records), "words")

# %% tags=["remove-input", "hide-output"] mystnb={"code_prompt_show": "Every training, a line each", "code_prompt_hide": "Every training, a line each"}
chapter.trainings()

# %% tags=["remove-input"]
chapter.rerun()
