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
# a difference matters, and which word each outcome earns. This page has all of that. Its tables
# are generated from the declarations that the verdicts themselves are made by.
#
# A verdict is about this scale: narrow nets on small photos. The words are *holds at this scale*
# and *not at this scale*, never that the paper is wrong.

# %% tags=["hide-input"]
from IPython.display import Markdown

from vggrepro.pages import figures, figures_method, method, report
from vggrepro.study import twins

figures.use_style()
study = method.planning()

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
# Minival is held out of the training images. The recipe is chosen on it, for all nets at once, and
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
# - **Training claims are decided by centre crop and flip.** Dense evaluation of a small image has
#   few positions, and its error hangs on where they fall. Claims about testing are decided by the
#   protocols that they name.
#
# A *control* is the claim's comparison with one advantage taken away: if the claim is right, it has
# the same sign. A *rival* is another explanation by itself: if it comes out as large as the claim's
# difference, it may be all there is to it. Both are shown with the verdict and decide nothing.

# %% tags=["remove-input"]
Markdown(twins.twins_sentence())

# %% tags=["remove-input"]
report.show(method.controls_table(), "words wrapped leading")

# %% [markdown]
# ## From errors to an interval
#
# A difference is the error of the second side less that of the first, over seeds that both have.
# The first is the side that the paper puts first, so a positive difference is as the paper says.
# Its 95 % interval is Student's t, with a spread from one of these:

# %% tags=["remove-input"]
report.show(method.tests_table(), "words wrapped")

# %% [markdown]
# With few seeds the spread of one pair of nets is hardly known. All nets together know it better:
# take away each net's own error and what a seed does to all of them, and pool what is left. That
# supposes that all nets vary alike; where some vary more, their intervals are too narrow and the
# others' too wide. Images
# are not resampled to make up for seeds: two trainings of one net differ by more than the sampling
# of images explains, so that such an interval is too narrow.
#
# ## From an interval to a word
#
# A rule reads the interval against zero and against the smallest difference that matters, both
# fixed for the claim. With fewer seeds than were fixed nothing is decided, and further ones are not
# used: looking until it fits would be a rule of its own.

# %% tags=["remove-input"]
report.show(method.rules_table(), "words wrapped")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-words", "caption": "Eight intervals under each rule, and the word that it gives them. Grey: differences smaller than what matters. Each is drawn at the confidence by which the rule decides."}, "image": {"alt": "Three panels, one for each rule, with the same eight intervals around zero, each with its word beside it."}}
figures_method.called()
figures.plt.show()

# %% [markdown]
# *Inconclusive* is a word like the others. It comes with the smallest difference that so many seeds
# could have found.
#
# ## Every claim, as it was fixed
#
# One rule, one interval, one set of photos, one n and one threshold for each. Thresholds and the
# paper's own differences are in points of top-1 error, or as they say. The verdicts are on the
# [front page](index.ipynb).

# %% tags=["remove-input"]
report.show(method.claims_table(), "words wrapped leading")

# %% [markdown]
# Where it says *at two lengths*, the sign has to be the same when both nets are trained for half as
# long. **Pilots**, trained before the recipe was frozen, decide nothing. They are where the spread
# over seeds below comes from.
#
# ### What was fixed when

# %% tags=["remove-input"]
Markdown(method.history_sentence())

# %% [markdown]
# ### What is trained for them
#
# Every run that a claim or one of its controls names, with its number of seeds; once, what a
# chapter shows beside; and what those start from. One seed of everything comes before the second of
# anything. Seeds recorded, of those planned:

# %% tags=["remove-input", "hide-output"] mystnb={"code_prompt_show": "Every run and its seeds", "code_prompt_hide": "Every run and its seeds"}
report.show(method.programme_table())

# %% [markdown]
# ## How often is that wrong?

# %% tags=["remove-input"]
Markdown(method.chance_sentence())

# %% [markdown]
# Holm's procedure {cite:p}`holm1979simple` tests the smallest p at the level divided by the number of
# primary claims, the next by one less, and so on. A claim that was not run stays in the count. A
# claim's interval at its own level then earns its word.

# %% tags=["remove-input"]
Markdown(method.simulation_sentence(study))

# %% tags=["remove-input"]
report.show(method.wrong_table(study), "words")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-simulated", "caption": "What simulated studies are called, by the true difference: the share of them that earns each word. Dotted lines: zero, and plus and minus what matters."}, "image": {"alt": "Three panels, one for each rule: stacked shares of the verdicts of simulated studies over the true difference."}}
figures_method.simulated(method.typical(study))
figures.plt.show()

# %% [markdown]
# ## What can be found at all
#
# In points of top-1 error, with the planned number of seeds and the spread that the pilots had
# shown when that number was fixed. The last line is the spread that the study itself has since
# shown, from which its intervals are made:

# %% tags=["remove-input"]
report.show(method.spread_table(study), "words")

# %% tags=["remove-input"]
Markdown(method.detectable_sentence())

# %% tags=["remove-input"]
report.show(method.detectable_table(study), "words wrapped leading")

# %% [markdown]
# Where *found* is larger than what *matters*, a verdict of *inconclusive* is the likeliest outcome
# unless the truth is far from zero. That is no reason to lower the threshold afterwards.
#
# ## Where this is written down
#
# The claims are in `vggrepro/study/claims.py`, the rules and the intervals in
# `vggrepro/study/rules.py`. The tests simulate studies of known truth and check that intervals cover
# it and that wrong words are as rare as stated. `vggrepro compare` shows what another folder of
# records would decide: see [](comparison.ipynb).
