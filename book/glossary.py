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
# # Glossary
#
# The nets, the scales and the words of this book on one page.
#
# ## The nets
#
# Five blocks of convolutions, a pooling after each, then three fully-connected layers, the same for
# all. What is counted is layers with weights.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-nets", "caption": "Nets A to E (Table 1), from the image at the top to the classes at the bottom. A box is a layer with weights, with the size of its filters and the paper's number of channels; a line between boxes is a pooling. A-LRN is A with a normalisation after its first layer."}, "image": {"alt": "Five columns of boxes. A has 11 layers, B 13, C and D 16, E 19. Of C's layers three are of 1×1, where D has 3×3."}}
from vggrepro.configs import CONFIGS
from vggrepro.pages import figures

figures.use_style()
fig, ax = figures.plt.subplots(figsize=(4.6, 6.4))
for place, net in enumerate("ABCDE"):
    top, colour = 0.0, figures.NET_COLOURS[net]
    for depth, block in enumerate([*CONFIGS[net], ()]):
        rows = [f"{c.kernel}×{c.kernel}, {c.channels}" for c in block] or ["fc 4096"] * 2 + [
            "fc 1000"
        ]
        for row, text in enumerate(rows):
            y = -5.2 * depth - row
            face = "none" if text.startswith("1×1") else colour
            ax.barh(y, 0.86, 0.8, place - 0.43, color=face, edgecolor=colour, alpha=0.5)
            ax.text(place, y, text, ha="center", va="center", size=8)
        if block:
            ax.hlines(-5.2 * depth - 4.3, place - 0.43, place + 0.43, color="0.5", linewidth=1)
    layers = sum(map(len, CONFIGS[net])) + 3
    name = {"ha": "center", "color": figures.ink(colour), "weight": "bold"}
    ax.text(place, 1.2, f"{net}\n{layers} layers", **name)
ax.set_xlim(-0.5, 4.5)
ax.set_ylim(-29, 3.2)
ax.axis("off")
figures.plt.show()

# %% [markdown]
# Ours are narrower: at the budget *reduced* every layer has a quarter of these channels. **B-5x5** is
# B with one 5×5 for each two 3×3, **D-7x7** D with one 7×7 for each three. **C-linear** and
# **C-wide** are controls for C: without the ReLU after its 1×1 layers, and with as many weights as D.
#
# ## Scales and tests
#
# | word | what it is |
# |---|---|
# | S | the shortest side of a training image after rescaling; a crop of fixed size is cut from it at random |
# | Q | the shortest side of a test image after rescaling |
# | S, Q in small | written in the paper's pixels, where a crop has 224; ours shrink with the crop: on crops of 32 px, S = 256 is 37 px |
# | scale jitter | S drawn anew for every image, from 256 to 512 |
# | centre crop | one crop from the middle and its mirror image, averaged |
# | dense | the net slides over the whole image at Q; its scores are averaged over all places |
# | multi-crop | 50 crops for each Q: a grid of 5 by 5 and its mirror images |
# | several Q | the mean of the posteriors at three Q |
# | fusion | the mean of the posteriors of several nets |
#
# ## Photos and records
#
# | word | what it is |
# |---|---|
# | val | the images that errors are reported on; they steer nothing |
# | minival | a tenth of the training images, held out to watch a training by |
# | reduced | the budget of the study: a quarter of the channels, crops of 32 px (CIFAR-10) or 64 px (Imagenette) |
# | quick, smoke | small budgets on drawn images, which show the machinery and decide nothing |
# | seed | fixes random weights and the order and crops of images; n counts seeds |
# | pilot | trained before the [recipe](recipe.ipynb) was frozen; it decides nothing |
# | record | one JSON file for a training or a test, with digests, in `results/` |
#
# ## Names of runs
#
# | name | what it is |
# |---|---|
# | A-S256 | net A at S = 256, from random weights |
# | D-S256 | net D at S = 256 the paper's way: started from the trained A-S256 |
# | D-he, D-glorot | net D from random weights, by that rule |
# | D-he-long, A-he-long | the same, twice as long |
# | A-from-A | another A, started from A-S256 as D is |
# | A-short, D-short | half as long |
# | D-S384 | D-S256 trained on at S = 384 |
# | D-jitter | D-S384 trained on with scale jitter |
# | D-S384-longer | D-S384 trained on as long without jitter |
# | D-he-50, A-he-25, D-he-100-jitter | of the second round: net, random start by He's rule, epochs |
#
# ## Claims
#
# | word | what it is |
# |---|---|
# | claim | a sentence of the paper, or one sharpened from it, with two sides and a smallest difference that matters |
# | primary | fixed beforehand as one of the few that are corrected for being several |
# | control | the same comparison with one advantage taken away: if the claim is right, it has the same sign; where it clearly has not, the verdict is *reversed by its control* |
# | rival | another explanation on its own: if it is as large, it may be all there is; it decides nothing |
# | difference | A − D is the error of A less that of D, in points; positive is as the paper says |
# | verdict | what the rules make of the interval: the words are on the [front page](index.ipynb) |
