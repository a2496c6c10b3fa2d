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
# # How a claim is decided
#
# When does a number on small photos say something about a claim of the paper? When it was fixed
# beforehand what would count as an answer: which photos, which two nets, how many seeds, how large
# a difference matters, and which word each outcome earns. This page has all of that, and says what
# {ref}`came later <what-was-fixed-when>`. Its tables are generated from the declarations that the verdicts
# themselves are made by.
#
# A verdict is about this scale, narrow nets on small photos, and never says that the paper is wrong.

# %% tags=["remove-input"]
from IPython.display import Markdown

from vggrepro.pages import figures, method, report
from vggrepro.pages.verdicts import Verdicts
from vggrepro.study import gpu_round, second_round, store
from vggrepro.study.rules import ALPHA, POWER, RULES, TESTS, paired

figures.use_style()
verdicts, table = Verdicts(), store.frame()
known = method.typical(verdicts)

# %% [markdown]
# ## Two sets of photos
#
# CIFAR-10 {cite:p}`krizhevsky2009cifar` decides the claims about the nets: it is large enough to
# train deep ones, its spread over seeds is small, and a run takes minutes. Imagenette
# {cite:p}`howard2019imagenette` decides the claims about scale and testing, for which its photos are
# large enough. Each claim names one of them; the other is reported beside it. Drawn images show
# the mechanics and decide nothing.

# %% tags=["remove-input"]
report.show(method.data_table(), "words")

# %% [markdown]
# Minival is held out of the training images. Candidates for the recipe are compared on it, for all nets at once, and
# it alone steers a training: at full size the learning rate falls by its error, in the recorded
# study by a fixed schedule. Val is reported and steers nothing. Trial runs before the study did
# look at val; they decide nothing either. Errors are top-1. Top-5 errors are recorded and not shown:
# of ten classes five are half of all, and hardly an image is missed by five guesses.
#
# ```{margin}
# The paper steered its learning rate by the same validation images that most of its tables report,
# and says so in Section 4.
# ```
#
# ## Fair sides
#
# Two nets differ in more than the claim says, and most of what a reproduction can get wrong is here.
#
# - **Starting from net A is extra training.** A deep net that begins with A's layers has had A's
#   epochs too. The controls are A started from A, and D from random weights for as long as both.
# - **Jittering comes last in a chain.** A jittered net has been trained longer than the one that it
#   started from. So its control starts from the same weights and trains as long at a fixed S.
# - **Several Q are several passes.** The control has at least as many passes at one Q, on shifted
#   grids: four against three.
# - **Two nets are also two trainings.** The control of a fusion is the fusion of two seeds.
# - **The same seed means the same crops in the same order**, and the same start where shapes allow.
# - **Training claims but one are decided by centre crop and flip.** Dense evaluation of a small image
#   has few positions, and its error hangs on where they fall. The one is many training scales
#   against one, *each net at its own best Q*: it is decided densely. Claims about testing are decided
#   by the protocols that they name.
#
# A *control* is the claim's comparison with one advantage taken away: if the claim is right, it has
# the same sign. A *rival* is another explanation by itself: if it comes out as large as the claim's
# difference, it may be all there is to it. Both are shown with the verdict. A rival decides nothing. A
# control can do one thing: give a claim that holds the word *reversed by its control*.

# %% tags=["remove-input"]
Markdown(method.twins_sentence())

# %% [markdown]
# ## From errors to an interval
#
# A difference is named as it is taken: *A − D*, or *A against D*, is the error of A less that of D,
# over seeds that both have. Named second is what the paper holds to be better, or no worse, so a
# positive difference is as the paper says. The rules below call it the *first side*. For *no longer
# changes* neither sign is the paper's: in the first round E − D is taken, and positive means that E
# errs more; the second round was declared with D − E, where positive means that E errs less. So the
# paper's own number stands with either sign below.
#
# The 95 % interval of a difference is Student's t, with a spread from one of these:

# %% tags=["remove-input"]
report.show(method.explained(TESTS, "interval from", lambda claim: claim.test), "words wrapped")

# %% [markdown]
# With few seeds the spread of one pair of nets is hardly known. All nets together know it better:
# take away each net's own error and what a seed does to all of them, and pool what is left. That
# supposes that all nets vary alike.

# %% tags=["remove-input"]
Markdown(method.alike_sentence(verdicts.study))

# %% [markdown]
# Nets that start from the same A vary together as well. So in this round an interval can be too
# narrow or too wide; the second round gives each net a spread of its own. Images are held fixed: two
# trainings of one net differ by more than the sampling of images explains. For one net tested in two
# ways that is not so, and there the standard error over photos stands beside.
#
# ## From an interval to a word
#
# A rule reads the interval against zero and against the smallest difference that matters, both
# fixed for the claim. With fewer seeds than were fixed nothing is decided, and further ones are not
# used: looking until it fits would be a rule of its own.

# %% tags=["remove-input"]
report.show(method.explained(RULES, "rule", lambda claim: claim.rule), "words wrapped")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-words", "caption": "Eight intervals under each rule, and the word that it gives them. Grey: differences smaller than what matters. Each is drawn at the confidence by which the rule decides."}, "image": {"alt": "Three panels, one for each rule, with the same eight intervals around zero, each with its word beside it."}}
method.called()
figures.plt.show()

# %% [markdown]
# *Inconclusive* is a word like the others. It comes with the smallest difference that so many seeds
# could have found. Two words say more than the rule. **Reversed by its control:** the claim holds by
# its rule, and a control with all its seeds has an interval beyond zero on the other side. **Not so
# here:** what would be *contradicted*, of a claim that this study made sharper than the paper's
# sentence; *contradicted* is left to the paper's own. Neither changes what a rule decides, and both
# {ref}`came after the results <what-was-fixed-when>`.
#
# ## Every claim, as it was fixed
#
# One rule, one interval, one set of photos, one n and one threshold for each. Thresholds and the
# paper's own differences are in points of top-1 error, or as they say. The verdicts are on the
# [front page](index.ipynb).

# %% tags=["remove-input"]
Markdown(
    f"*Found* is the smallest true difference that earns a word in {100 * POWER:.0f} % of studies, at "
    "the level and with the spread by which the claim was decided; where it is larger than what "
    "matters, *inconclusive* is the likeliest word."
)

# %% tags=["remove-input"]
report.show(method.claims_table(verdicts), "words wrapped leading")

# %% [markdown]
# Where it says *at two lengths*, the sign has to be the same when both nets are trained for half as
# long.
#
# (what-was-fixed-when)=
# ### What was fixed when
#
# Claims, rules and thresholds were committed before the first pilot (`d2cb20b`). Four minutes later,
# while that pilot was running, net A on CIFAR-10, the test of LRN's time and its n were changed: to
# turns at the paper's geometry (`b17e3a1`). After pilots, and before any run that decides, n, which
# had been five, became three for claims decided on CIFAR-10, and controls were added for the nets with 1×1 layers and for
# LRN at half the length (`89bf953`, `bd3ca18`). Then claims and n were frozen (`c74b9dc`). For want of
# hours n of the claims decided on Imagenette was cut from five to three as well, when one seed of
# everything was recorded (`fbe93a1`). When the depth claims had their seeds, one more control was
# added, A as long in one go from random weights (`e7296fa`), and some controls were renamed rivals.
#
# **Two words came when the results were known** (`8ed0ec4`). *From 11 layers to 16* had been called
# *holds and matters* and became *reversed by its control*. Three claims had been called
# *contradicted* and became *not so here*: the 7×7, Glorot's start, and the start from net A. Their
# rules, intervals and thresholds stayed. On the same day the statistic of LRN's time was changed, from
# the mean of the ratios to the median of their logarithms (`8d34b87`): the time became smaller, its
# word stayed.
#
# ### Pilots
#
# Trained before the recipe was frozen, they decide nothing. Top-1 errors by centre crop, percent,
# by seed:

# %% tags=["remove-input"]
report.show(method.pilots_table(table))

# %% tags=["remove-input"]
by_seed = method.pilots(table).pivot(index=["data", "seed"], columns="run", values="top1_error")
ahead = (by_seed["A-S256"] - by_seed["A-LRN-S256"]).dropna().groupby("data", sort=False)
gains = [
    f"{report.DATA_NAMES[data]}: {one.estimate:.2f} [{one.low:.2f}, {one.high:.2f}]"
    for data, one in ahead.agg(list).map(paired).items()
]
Markdown(
    f"In {(ahead.obj > 0).sum()} of {len(ahead.obj)} pairs A-LRN erred less than A, in points: "
    f"{'; '.join(gains)}. After that was seen, the length of training and dropout were changed, for all "
    "nets and by the calibration; with the recipe of the study the difference is open "
    "([normalisation](02_lrn.html))."
)

# %% [markdown]
# ### What is trained for them
#
# Every run that a claim or one of its controls names, with its number of seeds; once, what a
# chapter shows beside; and what those start from. One seed of everything comes before the second of
# anything. Seeds recorded, of those planned:

# %% tags=["remove-input", "hide-output"] mystnb={"code_prompt_show": "Every run and its seeds", "code_prompt_hide": "Every run and its seeds"}
report.show(method.programme_table(table))

# %% [markdown]
# ## How often is that wrong?

# %% tags=["remove-input"]
Markdown(method.chance_sentence())

# %% [markdown]
# Holm's procedure {cite:p}`holm1979simple` tests the smallest p at the level divided by the number of
# primary claims, the next by one less, and so on. A claim that was not run stays in the count. A
# claim's interval at its own level then earns its word.

# %% tags=["remove-input"]
Markdown(f"{method.simulation_sentence(known)}\n\n{verdicts.not_after_holm()}")

# %% tags=["remove-input"]
report.show(method.wrong_table(known), "words")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-simulated", "caption": "What simulated studies are called, by the true difference: the share of them that earns each word. Dotted lines: zero, and plus and minus what matters."}, "image": {"alt": "Three panels, one for each rule: stacked shares of the verdicts of simulated studies over the true difference. Inconclusive is the commonest word between what matters on either side."}}
method.simulated(known)
figures.plt.show()

# %% [markdown]
# ## Which code made the records

# %% tags=["remove-input"]
dirty = table[table.dirty & (table.kind == "train")]
named = [f"{one.run} seed {one.seed} ({one.budget}, {one.data})" for one in dirty.itertuples()]
Markdown(
    f"Every record names its commit. {len(dirty)} trainings were made by code with changes that were "
    f"not committed yet: {'; '.join(named)}. The training A-S256 on CIFAR-10 with seed 0 is also "
    "A-he's, made twice with one result; it is counted once."
)

# %% [markdown]
# ## The second round
#
# The first round could not decide: it had three seeds, short trainings, sides that start from net
# A, and one spread for all nets. The second is a confirmation. Its runs, seeds, claims, margins and
# rules were fixed in one commit before its first run. No error of it is shown before it is complete:
# code sees to that, and `vggrepro status` alone says how far the round is.
#
# Every net starts from He's random weights and is trained by the recipe of the study; nothing
# changes but length. On CIFAR-10 seven nets (A, A-LRN, B, B-5x5, C, D, E) are trained for 50 epochs
# and, on the same seeds, for 25. On Imagenette D is trained for 100 epochs at S = 256, at S = 384
# and with S drawn from [256; 512]. Five new seeds of each count, 3 to 7 unless a unit has to be
# left.

# %% tags=["remove-input"]
report.show(method.second_claims_table(), "words wrapped leading")

# %% [markdown]
# The primary claims about nets are one family for Holm's procedure, those about scale another.
# Secondary claims are not corrected. *Saturates* is two questions at half the level each: are the
# two nets the same within what matters, and does one err less than the other? Where both are so,
# they are the same. *Two lengths* is asked of the primary claims about nets alone: the code of that
# commit has it so, its words do not say it. Of the others the shorter trainings are shown beside.

# %% tags=["remove-input"]
report.show(method.explained(second_round.TESTS | second_round.RULES, "rule"), "words wrapped")

# %% tags=["remove-input"]
Markdown(
    f"Simulated before the first run: {method.PAIRS:,} studies a cell, {second_round.UNITS} seeds a "
    f"net, Welch's test; from Holm's strictest level, {ALPHA:.0%} / {len(method.FAMILY)}, to "
    f"{ALPHA:.0%}. A true difference of one point is mostly found, unless a net is slow to take off; "
    "one of 0.7 is often missed; and where there is none, it is rarely shown to be *negligible*."
)

# %% tags=["remove-input"]
report.show(method.second_power_table(), "words")

# %% [markdown]
# ## The GPU round, as it is declared
# The nets of the second round once more on one GPU with the paper's channels, a column of its own:
# on CIFAR-10 seven nets for 50 epochs with seeds 0 to 4, on Imagenette at 128 px the three of D for
# 100 epochs with seeds 0 to 2. They begin at a tenth of the paper's rate: at all of it nets of full
# width overshoot from this start and stay at chance ([](10_initialisation.ipynb)). Its claims are those of the second round with the same tests, margins
# and families, at one length.

# %% tags=["remove-input"]
Markdown(" ".join(gpu_round.status_lines(store.RECORDED)) or "Nothing of it has been run yet.")

# %% [markdown]
# ## Where this is written down
#
# The claims are in `vggrepro/study/claims.toml`, the rules and the intervals in
# `vggrepro/study/rules.py`, and the second round is in `vggrepro/study/second_round.py`. The tests
# simulate studies of known truth and check that intervals cover it and that wrong words are as rare
# as stated. `vggrepro compare` shows what another folder of records would decide: see
# [](comparison.ipynb).
