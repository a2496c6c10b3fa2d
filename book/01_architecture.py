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
# # Architecture: six nets from one table
#
# Are the paper's tables of nets right, and where do the parameters sit? This chapter needs
# arithmetic and no training. It counts every layer of every net again and lays each count beside
# the paper's.

# %% tags=["parameters", "hide-input"]
budget: str = "reduced"  # of a rerun: smoke, quick, reduced, gpu or full
data: str = ""  # data set of a rerun; empty: the budget's first
seeds: int = 0  # how many seeds a rerun trains; 0: the budget's own number
rerun: bool = False  # True: train first; this chapter has nothing to train
data_dir: str = ""  # folder with the data set; drawn images need none
results_dir: str = ""  # folder with the rerun's records; empty: rerun/ in the checkout

# %% tags=["hide-input"]
import re

import matplotlib.patheffects as effects
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown, display
from PIL import Image

from vggrepro import cost
from vggrepro.configs import CONFIGS, layer_names
from vggrepro.data import synthetic
from vggrepro.pages import figures, report
from vggrepro.study import paper
from vggrepro.study.budgets import at_budget

report.options(budget, data, seeds, rerun, data_dir, results_dir)  # refuses what is not there
figures.use_style()

NETS = tuple(paper.TABLE_1)
CROP = 224  # px, the paper's


def table(rows, classes="numbers"):
    """Show rows, one dict each, as a table; the first key heads the lines."""
    frame = pd.DataFrame(
        [{k: f"{v:,}" if isinstance(v, int) else v for k, v in row.items()} for row in rows]
    )
    corner = frame.columns[0]
    frame = frame.set_index(corner).rename_axis(index=None, columns=corner)
    display(HTML(frame.to_html(border=0, escape=False, classes=classes)))


# %% [markdown]
# ## The claims

# %% tags=["remove-input"]
report.claim_box("weights", "seven-by-seven")

# %% [markdown]
# The paper shows the nets in Table 1 and their sizes, in whole millions, in Table 2. It does not
# print how the sizes are made up. We read Table 1 into code once; from there on nothing is typed
# in. Nothing is changed either: full width, 1000 classes, crops of the paper's size.

# %% [markdown]
# ## Table 1, read back
#
# A net is five blocks of convolutions. The library keeps the blocks and nothing else, and the
# table below is printed from them. Bold is what a column adds to the column on its left, as in
# the paper.

# %% tags=["margin", "remove-input"]
Markdown(
    "The columns are not a chain in which each net is the one before with more layers. D takes "
    f"away the {sum(c.kernel == 1 for block in CONFIGS['C'] for c in block)} layers of 1×1 that C "
    "brings: D against C is a swap."
)


# %% tags=["hide-input"]
def cells(net):
    """A column of Table 1 made from CONFIGS: for each block its layers, as the paper writes them."""
    return [
        [
            name
            for conv in block
            for name in (f"conv{conv.kernel}-{conv.channels}", *["LRN"] * conv.lrn)
        ]
        for block in CONFIGS[net]
    ]


def column(net):
    """The same column from the input down, with what all nets share."""
    head = ["FC-4096", "FC-4096", "FC-1000", "soft-max"]
    return tuple(name for block in cells(net) for name in (*block, "maxpool")) + tuple(head)


def bold_if_new(block, left):
    """Mark what stands at a place where the column on the left has something else, or nothing."""
    return "<br>".join(
        name if left is None or left[i : i + 1] == [name] else f"<b>{name}</b>"
        for i, name in enumerate(block)
    )


left_of = dict(zip(NETS[1:], NETS, strict=False))
table(
    [{"": "weight layers", **{net: len(layer_names(net)) for net in NETS}}]
    + [
        {"": f"block {i + 1}"}
        | {
            net: bold_if_new(cells(net)[i], cells(left_of[net])[i] if net in left_of else None)
            for net in NETS
        }
        for i in range(5)
    ],
    classes="words",
)

same = [net for net in NETS if column(net) == paper.TABLE_1[net]]
Markdown(
    f"Each block ends in a max-pool, and all nets share three fully-connected layers, fc6 to fc8. "
    f"Printed in full, **{len(same)} of {len(NETS)} columns are the paper's**, layer for layer."
)

# %% [markdown]
# ## From a table to numbers
#
# This is all that the counts on this page rest on. The function walks through the layers and keeps four
# numbers: channels, the side of the map, the receptive field, and the jump (how far apart in the
# image two neighbours of the map are).

# %% tags=["hide-input"]
report.source("cost", "layers")

# %% [markdown]
# A layer's weights are its kernel's area times the channels in and out. Its multiply-adds are its
# weights times the places on the map.

# %% [markdown]
# ## Table 2, counted
#
# The parameters of each net to the last one, and the multiply-adds (MAC) for one image.

# %% tags=["margin", "remove-input"]
weights = {net: sum(layer.weights for layer in cost.layers(net)) for net in CONFIGS}
counted = {net: cost.parameters(net) for net in CONFIGS}


def in_millions(number):
    return round(number / 1e6)


matters = [net for net in NETS if in_millions(weights[net]) != in_millions(counted[net])]
Markdown(
    "Table 2 does not say whether biases count. There are at most "
    f"{max(counted[net] - weights[net] for net in NETS):,} in a net, "
    + (
        f"and that changes the rounding of {', '.join(matters)}."
        if matters
        else "and no net rounds to another million without them."
    )
)

# %% tags=["hide-input"]
millions = {net: paper.parameters_millions(net) for net in NETS}
multiply_adds = {net: cost.multiply_adds(net, crop=CROP) for net in CONFIGS}
wrong = [net for net in NETS if in_millions(counted[net]) != millions[net]]

table(
    [
        {
            "net": net,
            "paper": f"{millions[net]}M",
            "counted": counted[net],
            f"GMAC at {CROP} px": f"{multiply_adds[net] / 1e9:.2f}",
        }
        for net in NETS
    ]
)
Markdown(
    "\n".join(
        f"- **{net}**: {counted[net]:,} rounds to {in_millions(counted[net])} million, "
        + (f"**not the {millions[net]} printed**." if net in wrong else "as printed.")
        for net in NETS
    )
    + f"\n\nFrom A to E the parameters grow by {counted['E'] / counted['A'] - 1:.0%}, and the "
    f"multiply-adds by {multiply_adds['E'] / multiply_adds['A'] - 1:.0%}. Depth is paid for in "
    "arithmetic, not in parameters."
)

# %% [markdown]
# ## Where the parameters sit, and where the work is done
#
# They sit at opposite ends of the net. In a convolution a few weights work at every place of a
# large map. In fc6 each weight is used once.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-parameters", "caption": "Parameters (top) and multiply-adds of one image (bottom) by group of layers. The fully-connected layers hold nearly all of the first and do next to none of the second. A-LRN counts as A."}, "image": {"alt": "Two charts of stacked bars, one bar for each net. Above, parameters: fc6 alone fills most of every bar. Below, multiply-adds: the five convolution blocks fill the bars almost to the end, and the bars grow from A to E."}}
GROUPS = {
    f"block {i}": shade for i, shade in enumerate(plt.cm.Blues(np.linspace(0.25, 0.95, 5)), 1)
}
GROUPS |= {"fc6": "#D55E00", "fc7": "#E69F00", "fc8": "#F5CF7D"}
drawn = [net for net in NETS if net != "A-LRN"]


def group(layer):
    return f"block {layer.name[4]}" if layer.kind == "conv" else layer.name


def by_group(net, figure):
    """The sum of a layer's `figure` over each group of layers."""
    net = [layer for layer in cost.layers(net, crop=CROP) if layer.weights]
    return {g: sum(getattr(layer, figure) for layer in net if group(layer) == g) for g in GROUPS}


def share(net, figure, head):
    """The share of the groups whose names start with `head`."""
    sums = by_group(net, figure)
    return sum(v for g, v in sums.items() if g.startswith(head)) / sum(sums.values())


fig, axes = plt.subplots(2, 1, figsize=(5.8, 5.6))
panels = (
    ("parameters", 1e6, "parameters, millions", "fc", "in fc"),
    ("multiply_adds", 1e9, f"multiply-adds at {CROP} px, billions", "block", "in conv."),
)
for ax, (figure, unit, label, head, where) in zip(axes, panels, strict=True):
    for y, net in enumerate(drawn):
        left = 0
        for name, amount in by_group(net, figure).items():
            ax.barh(
                y,
                amount / unit,
                left=left,
                color=GROUPS[name],
                height=0.72,
                label=name if y == 0 else None,
            )
            left += amount / unit
        ax.annotate(
            f"{share(net, figure, head):.0%} {where}",
            (left, y),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    ax.set(yticks=range(len(drawn)), yticklabels=drawn, xlabel=label)
    ax.set_xlim(0, 1.2 * ax.dataLim.x1)
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
fig.legend(
    *axes[0].get_legend_handles_labels(),
    loc="outside upper center",
    ncols=4,
    handlelength=1.2,
    columnspacing=1.6,
)
plt.show()

# %% tags=["hide-input"]
held = {net: share(net, "parameters", "fc") for net in NETS}
done = {net: share(net, "multiply_adds", "block") for net in NETS}
least, most = min(held, key=held.get), max(held, key=held.get)
fc6 = by_group("D", "parameters")["fc6"]
Markdown(
    f"The fully-connected layers hold {held[least]:.0%} ({least}) to {held[most]:.0%} ({most}) "
    f"of the parameters. The convolutions do {min(done.values()):.1%} to "
    f"{max(done.values()):.1%} of the multiply-adds. "
    f"fc6 alone has {fc6:,} parameters, in D {fc6 / counted['D']:.0%} of the net. So a table of "
    "parameters says little about how deep a net is, and next to nothing about what it costs to "
    "run."
)

# %% [markdown]
# ## Not more weights than a shallower net
#
# The first claim compares with the net of Sermanet et al. {cite:p}`sermanet2014overfeat`. Its
# size is the paper's word here; we do not count that net again.

# %% tags=["hide-input"]
theirs = int(re.search(r"(\d+)M weights", paper.quote("weights").text).group(1))
table(
    [
        {
            "net": net,
            "weights": weights[net],
            f"less than {theirs}M by": f"{theirs - weights[net] / 1e6:.1f}M",
            "in convolutions": sum(x.weights for x in cost.layers(net) if x.kind == "conv"),
        }
        for net in NETS
    ]
)

above = [net for net in NETS if max(weights[net], counted[net]) > theirs * 1e6]
Markdown(
    (f"**{', '.join(above)} are larger.** " if above else "**No net is larger.** ")
    + f"E comes closest, with {weights['E'] / (theirs * 1e6):.1%} of the {theirs} million, and "
    "rounds to the same number. What makes it so is fc6 to fc8, which do not grow with depth: "
    f"E's convolutions alone have {1 - share('E', 'parameters', 'fc'):.0%} of its parameters."
)

# %% [markdown]
# ## Three small filters or one large one
#
# Section 2.3 puts a stack of three 3×3 layers against one 7×7 layer with the same receptive
# field, and so a pair against one 5×5. The sum is made for C channels in and C channels out,
# without biases.


# %% tags=["hide-input"]
def conv(kernel, channels_in, channels):
    return cost.Layer("", "conv", kernel, channels_in, channels, (channels, 1, 1), kernel, 1)


def more(single, stack, digits=0):
    return f"{single / stack - 1:+.{digits}%}".replace("-", "−")


STACKS = {"three 3×3 → 7×7": (3, 7), "two 3×3 → 5×5": (2, 5)}
channels_used = sorted({layer.channels for block in CONFIGS["D"] for layer in block})
rows = []
for pair, (count, kernel) in STACKS.items():
    for channels in channels_used:
        stack, single = [conv(3, channels, channels)] * count, conv(kernel, channels, channels)
        small, large = sum(layer.weights for layer in stack), single.weights
        rows.append(
            {
                "": pair,
                "C": channels,
                "stack": small,
                "one layer": large,
                "more": more(large, small, 2),
                "with biases": more(single.parameters, sum(x.parameters for x in stack), 2),
            }
        )
table(rows)

seven, five = (
    conv(kernel, 1, 1).weights / (count * conv(3, 1, 1).weights)
    for count, kernel in STACKS.values()
)
printed = int(re.search(r"(\d+)% more", paper.quote("seven-by-seven").text).group(1))
Markdown(
    f"The 7×7 layer needs {seven - 1:.2%} more weights at any width, the paper's {printed}%: "
    + ("**the sum is right**. " if round(100 * (seven - 1)) == printed else "**it differs**. ")
    + f"For the 5×5 layer it is {five - 1:.0%}. Biases change nothing that one could see."
)

# %% [markdown]
# ### In the nets themselves
#
# The nets do not have C channels in everywhere. The first layer of a block takes in half of what
# it gives out, the very first only three colours. A large filter pays for these few channels
# once; a stack goes on with all C. So we swap the stacks of D for 7×7 layers, and the pairs of B
# for the 5×5 layers that Section 4.1 trains, and count the real nets.

# %% tags=["hide-input"]
TWINS = {"D": "D-7x7", "B": "B-5x5"}


def conv_weights(net, block=""):
    return sum(x.weights for x in cost.layers(net) if x.name.startswith(f"conv{block}"))


def swapped(net):
    """The blocks in which a net and its twin differ."""
    return [i for i in range(5) if CONFIGS[net][i] != CONFIGS[TWINS[net]][i]]


def first_in(net, block):
    return next(x.in_channels for x in cost.layers(net) if x.name == f"conv{block}_1")


table(
    [
        {
            "": f"{twin.replace('x', '×')}, block {i + 1}",
            "in": first_in(net, i + 1),
            "C": CONFIGS[net][i][0].channels,
            "3×3 stack": conv_weights(net, i + 1),
            "one layer": conv_weights(twin, i + 1),
            "more": more(conv_weights(twin, i + 1), conv_weights(net, i + 1)),
        }
        for net, twin in TWINS.items()
        for i in swapped(net)
    ]
)

fields = {
    net: max(layer.receptive_field for layer in cost.layers(net) if layer.kind == "conv")
    for net in CONFIGS
}
sentences = []
for net, twin in TWINS.items():
    gmac, other = (multiply_adds[name] / 1e9 for name in (net, twin))
    sentences.append(
        f"- **{net} → {twin.replace('x', '×')}**: "
        f"{more(conv_weights(twin), conv_weights(net))} weights in the convolutions, "
        f"{more(weights[twin], weights[net], 1)} in the whole net ({counted[twin]:,} "
        f"parameters against {counted[net]:,}), and {other:.1f} billion multiply-adds "
        f"instead of {gmac:.1f}. The last convolution sees {fields[twin]} px in both."
        if fields[twin] == fields[net]
        else f"- **{net} → {twin}**: the fields differ, {fields[net]} and {fields[twin]} px."
    )
block5 = more(conv_weights("D-7x7", 5), conv_weights("D", 5))
block3, block4 = (more(conv_weights("D-7x7", i), conv_weights("D", i)) for i in (3, 4))
cheaper = [i + 1 for i in swapped("B") if conv_weights("B-5x5", i + 1) < conv_weights("B", i + 1)]
Markdown(
    f"Only block 5, with as many channels in as out, shows the full {block5}; in block 3 it is "
    f"{block3}, in block 4 {block4}. "
    + (
        f"In blocks {cheaper[0]} to {cheaper[-1]} of B the 5×5 layer even needs *fewer* weights "
        "than the pair.\n\n"
        if cheaper
        else "\n\n"
    )
    + "\n".join(sentences)
)

# %% [markdown]
# ## How far a layer sees
#
# Each 3×3 layer widens the receptive field by two steps of its input, and each pool doubles the
# step. So the field grows slowly at first and fast in block 5.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-fields", "caption": "Receptive field after each layer with weights, up to fc6 (open circle). Dashed: the side of the paper's crop. Dotted: the sides of the crops of our smaller budgets. C's 1x1 layers add depth and no field."}, "image": {"alt": "Lines for nets A, B, C, D and E climbing from 3 px at the first layer. The deeper the net, the more layers and the larger the field; fc6 lies above the crop's side in all of them, and only E's last convolution does."}}
SMALL_CROPS = tuple(at_budget("D-S256", "reduced", d).crop for d in ("imagenette", "cifar10"))
fig, ax = plt.subplots(figsize=(5.8, 4.3))
for net, marker in zip(drawn, "os^Dv", strict=True):
    sides = [
        x.receptive_field
        for x in cost.layers(net, crop=CROP)
        if x.kind == "conv" or x.name == "fc6"
    ]
    depth = range(1, len(sides) + 1)
    (line,) = ax.plot(depth, sides, marker=marker, markevery=slice(0, -1), markersize=4.5)
    ax.plot(depth[-1], sides[-1], "o", color=line.get_color(), markerfacecolor="white")
    ax.annotate(
        net,
        (depth[-1], sides[-1]),
        (7, 0),
        va="center",
        textcoords="offset points",
        color=line.get_color(),
        weight="bold",
    )
for crop, dashes in ((CROP, "--"), *((crop, ":") for crop in SMALL_CROPS)):
    ax.axhline(crop, color="#555555", linestyle=dashes, linewidth=1.2, zorder=0)
    ax.annotate(
        f"crop of {crop} px",
        (0.8, crop),
        (0, 3),
        color="#555555",
        textcoords="offset points",
        fontsize=9,
    )
ax.set(xlabel="layer with weights, from the input (fc6 last)", ylabel="receptive field, px")
ax.set(xticks=range(1, 18, 2), xlim=(0.5, 17.6), ylim=(0, 500))
plt.show()

# %% [markdown]
# Later chapters train smaller nets on smaller crops. The field does not shrink with the crop: it
# counts pixels and depends on the layers alone. The table has the field of the last convolution,
# divides it by the crop's side, and adds what fc6 sees.

# %% tags=["hide-input"]
table(
    [
        {
            "net": net,
            "field, px": fields[net],
            **{f"÷ {crop} px": f"{fields[net] / crop:.2f}" for crop in (CROP, *SMALL_CROPS)},
            f"fc6 at {CROP} px": f"{cost.layers(net, crop=CROP)[-3].receptive_field} px",
        }
        for net in NETS
    ]
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-squares", "caption": "What one unit in the middle of D sees, after the last convolution of each block. The three panels have one scale; only the crop differs. Grey is outside the crop, where there is nothing but zero padding. The picture is one of the embedded data set."}, "image": {"alt": "Three panels, each with five nested squares of 5, 14, 40, 92 and 196 px around the middle of a picture. In a picture of 224 px all squares lie inside. In one of 64 px the two largest lie outside, in one of 32 px the three largest."}}
BLOCK_COLOURS = ("#F0E442", "#E69F00", "#D55E00", "#CC79A7", "#0072B2")
photo = Image.fromarray(synthetic.draw(0, "val", 14).image)
short = min(photo.size)
corner = [(side - short) // 2 for side in photo.size]
photo = photo.crop((*corner, corner[0] + short, corner[1] + short))
last_of_block = {
    layer.name[4]: layer.receptive_field for layer in cost.layers("D") if layer.kind == "conv"
}

fig, axes = plt.subplots(1, 3, figsize=(5.8, 2.9), sharey=True)
for ax, crop in zip(axes, (CROP, *SMALL_CROPS), strict=True):
    half = crop / 2
    ax.set_facecolor("#d8d8d8")
    ax.imshow(
        photo.resize((crop, crop), Image.Resampling.BILINEAR), extent=(-half, half, half, -half)
    )
    for (block, side), colour in zip(last_of_block.items(), BLOCK_COLOURS, strict=True):
        square = plt.Rectangle(
            (-side / 2, -side / 2),
            side,
            side,
            fill=False,
            edgecolor=colour,
            linewidth=2,
            label=f"block {block}: {side} px",
        )
        square.set_path_effects([effects.withStroke(linewidth=3.5, foreground="white")])
        ax.add_patch(square)
    ax.set(xlim=(-116, 116), ylim=(116, -116), xticks=(-75, 0, 75), yticks=(-75, 0, 75))
    ax.set(title=f"crop of {crop} px", xlabel="px")
    ax.spines[:].set_visible(False)
axes[0].set_ylabel("px")
fig.legend(
    *axes[0].get_legend_handles_labels(),
    loc="outside lower center",
    ncols=3,
    handlelength=1.2,
    columnspacing=1.4,
)
plt.show()


# %% tags=["hide-input"]
def outgrows(net, crop):
    """The first convolution whose field is larger than the crop, in words."""
    larger = (x for x in cost.layers(net) if x.kind == "conv" and x.receptive_field > crop)
    found = next(larger, None)
    return f"from {found.name} on" if found else "in no convolution"


Markdown(
    f"At the paper's {CROP} px, D's last convolution sees {fields['D'] / CROP:.2f} of the crop's "
    f"side, and E's {fields['E'] / CROP:.2f}. D's field is larger than the crop "
    + ", ".join(f"{outgrows('D', crop)} at {crop} px" for crop in (CROP, *SMALL_CROPS))
    + f". At {SMALL_CROPS[0]} px, only {(SMALL_CROPS[0] / fields['D']) ** 2:.0%} of the area that "
    f"a unit in the middle of D's last map could see is image. So what the paper says about "
    "spatial context (C against D) is put to a harder test on small crops: there is less context "
    "to see. Chapters that decide such claims come back to this."
)

# %% [markdown]
# ## Verdict

# %% tags=["hide-input"]
Markdown(
    f"""\
- **Table 1**: {"holds" if len(same) == len(NETS) else "**does not hold**"}. \
{len(same)} of {len(NETS)} columns come out of the code as printed.
- **Table 2**: {"holds" if not wrong else f"does not hold for {', '.join(wrong)}"}. \
{len(NETS) - len(wrong)} of {len(NETS)} exact counts round to the printed million.
- **Not more weights than {theirs}M**: {"holds" if not above else "does not hold"}, \
as far as a rounded {theirs}M can tell: the largest net has {weights["E"] / 1e6:.2f}M.
- **{printed}% more for 7×7**: {"holds" if round(100 * (seven - 1)) == printed else "does not hold"} \
as a sum. Put into D, 7×7 layers change its convolution weights by \
{more(conv_weights("D-7x7"), conv_weights("D"))}, as only block 5 has as many channels in as out.

These are counts: no seed, no data and no margin of error comes in."""
)

# %% [markdown]
# ## Where this comes from
#
# Every number above is computed by `vggrepro/cost.py` from `vggrepro/configs.py`, and the paper's
# numbers are read from `vggrepro/study/paper_tables.csv`. No record is read. The tests compare the
# counts with the nets as PyTorch builds them. To compute this page again:
#
# ```bash
# .venv/bin/papermill book/01_architecture.ipynb out.ipynb
# ```
