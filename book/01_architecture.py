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

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters of a rerun", "code_prompt_hide": "Parameters of a rerun"}
budget: str = "reduced"  # of a rerun: smoke, quick, reduced, gpu or full
data: str = ""  # data set of a rerun; empty: the budget's first
seeds: int = 0  # how many seeds a rerun trains; 0: the budget's own number
rerun: bool = False  # True: train first; this chapter has nothing to train
data_dir: str = ""  # folder with the data set; drawn images need none
results_dir: str = ""  # folder with the rerun's records; empty: rerun/ in the checkout

# %% tags=["remove-input"]
import re

from IPython.display import Markdown

from vggrepro import cost
from vggrepro.configs import CONFIGS, layer_names
from vggrepro.data import synthetic
from vggrepro.pages import figures, nets, report
from vggrepro.pages.nets import conv_weights
from vggrepro.study import paper
from vggrepro.study.budgets import at_budget

report.rerun_column(budget, data, seeds, rerun, data_dir, results_dir)  # refuses what is not there
figures.use_style()

NETS = tuple(paper.TABLE_1)
CROP = 224  # px, the paper's
SMALL_CROPS = tuple(at_budget("D-S256", "reduced", d).crop for d in ("imagenette", "cifar10"))
millions = {net: paper.parameters_millions(net) for net in NETS}
weights = {net: sum(layer.weights for layer in cost.layers(net)) for net in CONFIGS}
counted = {net: cost.parameters(net) for net in CONFIGS}
multiply_adds = {net: cost.multiply_adds(net, crop=CROP) for net in CONFIGS}
theirs, printed = (
    int(re.search(r"(\d+)(M weights|% more)", paper.quote(key).text).group(1))
    for key in ("weights", "seven-by-seven")
)


def table(rows, classes="numbers"):
    """Rows, one dict each, as a table; the first key heads the lines."""
    rows = list(rows)
    frame = report.table_by(next(iter(rows[0])), rows)
    return report.show(frame.map(lambda x: f"{x:,}" if isinstance(x, int) else x), classes)


def more(single, stack, digits=0):
    return f"{single / stack - 1:+.{digits}%}".replace("-", "−")


def cells(net):
    """For each block of a net its layers, as the paper writes them in Table 1."""
    return [
        [n for c in block for n in (f"conv{c.kernel}-{c.channels}", *["LRN"] * c.lrn)]
        for block in CONFIGS[net]
    ]


def column(net):
    """The net's column of Table 1 from the input down, with what all nets share."""
    head = ("FC-4096", "FC-4096", "FC-1000", "soft-max")
    return tuple(name for block in cells(net) for name in (*block, "maxpool")) + head


def by_group(net, figure):
    """The sum of a layer's `figure` over each block and FC layer."""
    net = [layer for layer in cost.layers(net, crop=CROP) if layer.weights]
    return {g: sum(getattr(x, figure) for x in net if x.name.startswith(g)) for g in GROUPS}


def share(net, figure, head):
    """The share of the groups whose names start with `head`."""
    sums = by_group(net, figure)
    return sum(v for g, v in sums.items() if g.startswith(head)) / sum(sums.values())


# %% tags=["remove-input"]
GROUPS = {f"conv{i + 1}": figures.plt.cm.Blues(0.25 + 0.175 * i) for i in range(5)}
GROUPS |= {"fc6": "#D55E00", "fc7": "#E69F00", "fc8": "#F5CF7D"}
same = [net for net in NETS if column(net) == paper.TABLE_1[net]]
wrong = [net for net in NETS if round(counted[net] / 1e6) != millions[net]]
larger = [net for net in NETS if max(weights[net], counted[net]) > theirs * 1e6]
seven, five = (kernel**2 / (count * 9) for kernel, count in ((7, 3), (5, 2)))
held = {net: share(net, "parameters", "fc") for net in NETS}
done = {net: share(net, "multiply_adds", "conv") for net in NETS}
Markdown(
    f"""\
**In short:** {len(same)} of {len(NETS)} columns of Table 1 come out of the code as printed, and
{len(NETS) - len(wrong)} of {len(NETS)} exact counts round to the million of Table 2. {"No net is" if not larger else f"{larger} are"}
larger than {theirs}M; the largest has {weights["E"] / 1e6:.2f}M weights, biases not counted. “{printed}% more” for 7×7
{"holds as a sum" if round(100 * (seven - 1)) == printed else "does not hold"}; put into D, 7×7 layers
change its convolution weights by {more(conv_weights("D-7x7"), conv_weights("D"))} only. These are
counts: no seed, no data and no margin of error comes in."""
)

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


# %% tags=["remove-input"]
left_of = dict(zip(NETS[1:], NETS, strict=False))


def marked(net, i):
    """A block's layers; bold is what a column adds to the one on its left, as in the paper."""
    block = cells(net)[i]
    left = cells(left_of[net])[i] if net in left_of else block
    return "<br>".join(
        name if left[j : j + 1] == [name] else f"<b>{name}</b>" for j, name in enumerate(block)
    )


rows = [{"": f"block {i + 1}"} | {net: marked(net, i) for net in NETS} for i in range(5)]
table(rows, classes="words")

# %% tags=["remove-input"]
Markdown(
    "Each block ends in a max-pool, and all nets share three fully-connected layers, fc6 to fc8. "
    f"Printed in full, **{len(same)} of {len(NETS)} columns are the paper's**, layer for layer."
)

# %% [markdown]
# ## From a table to numbers
#
# This is all that the counts on this page rest on. The function walks through the layers and keeps four
# numbers: channels, the side of the map, the receptive field, and the jump (how far apart in the
# image two neighbours of the map are).

# %% tags=["remove-input"]
report.source("cost", "layers")

# %% [markdown]
# A layer's weights are its kernel's area times the channels in and out. Its multiply-adds are its
# weights times the places on the map.

# %% [markdown]
# ## Table 2, counted
#
# The parameters of each net to the last one, biases among them, and the multiply-adds (MAC) for one
# image. The first claim is about weights, so its column leaves the biases out. It compares with the
# net of Sermanet et al. {cite:p}`sermanet2014overfeat`; its size is the
# paper's word here, and we do not count it again.

# %% tags=["margin", "remove-input"]
matters = [net for net in NETS if round(weights[net] / 1e6) != round(counted[net] / 1e6)]
biases = max(counted[net] - weights[net] for net in NETS)
Markdown(
    f"Table 2 does not say whether biases count. There are at most {biases:,} in a net, and without "
    f"them {', '.join(matters) or 'no net'} rounds to another million."
)

# %% tags=["remove-input"]
table(
    {
        "net": net,
        "weight layers": len(layer_names(net)),
        "paper": f"{millions[net]}M",
        "counted, with biases": counted[net],
        f"weights, without: less than {theirs}M by": f"{theirs - weights[net] / 1e6:.2f}M",
        "weights in convolutions": conv_weights(net),
        f"GMAC at {CROP} px": f"{multiply_adds[net] / 1e9:.2f}",
    }
    for net in NETS
)

# %% tags=["remove-input"]
Markdown(
    f"From A to E the parameters grow by {counted['E'] / counted['A'] - 1:.0%}, and the "
    f"multiply-adds by {multiply_adds['E'] / multiply_adds['A'] - 1:.0%}. Depth is paid for in "
    f"arithmetic, not in parameters. E comes closest to the {theirs} million of the claim, with "
    f"{weights['E'] / (theirs * 1e6):.1%} of them. What keeps it below is fc6 to fc8, which do not "
    f"grow with depth: E's convolutions alone have {1 - held['E']:.0%} of its parameters."
)

# %% [markdown]
# ## Where the parameters sit, and where the work is done
#
# They sit at opposite ends of the net. In a convolution a few weights work at every place of a
# large map. In fc6 each weight is used once.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-parameters", "caption": "Parameters (top) and multiply-adds of one image (bottom) by group of layers. The fully-connected layers hold nearly all of the first and do next to none of the second. A-LRN counts as A."}, "image": {"alt": "Two charts of stacked bars, one bar for each net. Above, parameters: fc6 alone fills most of every bar. Below, multiply-adds: the five convolution blocks fill the bars almost to the end, and the bars grow from A to E."}}
fig, axes = figures.plt.subplots(2, 1, figsize=(5.8, 5.6))
panels = (
    ("parameters", 1e6, "parameters, millions", "fc"),
    ("multiply_adds", 1e9, f"multiply-adds at {CROP} px, billions", "conv"),
)
drawn = [net for net in NETS if net != "A-LRN"]
for ax, (figure, unit, label, head) in zip(axes, panels, strict=True):
    for y, net in enumerate(drawn):
        left = 0
        for name, amount in by_group(net, figure).items():
            named = name.replace("conv", "block ") if y == 0 else None
            ax.barh(y, amount / unit, left=left, color=GROUPS[name], height=0.72, label=named)
            left += amount / unit
        ax.text(left, y, f"  {share(net, figure, head):.0%} in {head}", va="center", fontsize=9)
    ax.set(yticks=range(len(drawn)), yticklabels=drawn, xlabel=label)
    ax.set_xlim(0, 1.2 * ax.dataLim.x1)
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
figures.plt.show()

# %% tags=["remove-input"]
least, most = min(held, key=held.get), max(held, key=held.get)
fc6 = next(layer.parameters for layer in cost.layers("D") if layer.name == "fc6")
Markdown(
    f"The fully-connected layers hold {held[least]:.0%} ({least}) to {held[most]:.0%} ({most}) "
    f"of the parameters. The convolutions do {min(done.values()):.1%} to {max(done.values()):.1%} "
    f"of the multiply-adds. fc6 alone has {fc6:,} parameters, in D {fc6 / counted['D']:.0%} of the "
    "net. So a table of parameters says little about how deep a net is, and next to nothing about "
    "what it costs to run."
)

# %% [markdown]
# ## Three small filters or one large one
#
# Section 2.3 puts a stack of three 3×3 layers against one 7×7 layer with the same receptive
# field, and so a pair against one 5×5. For C channels in and C out, without biases, the stack has
# $3 \cdot 9\,C^2$ weights and the one layer $49\,C^2$, at any width.

# %% tags=["remove-input"]
Markdown(
    f"The 7×7 layer needs {seven - 1:.2%} more weights, the paper's {printed}%: **the sum is right**. "
    f"For the 5×5 layer it is {five - 1:.0%}."
)

# %% [markdown]
# ### In the nets themselves
#
# The nets do not have C channels in everywhere. The first layer of a block takes in half of what
# it gives out, the very first only three colours. A large filter pays for these few channels
# once; a stack goes on with all C. So we swap the stacks of D for 7×7 layers, and the pairs of B
# for the 5×5 layers that Section 4.1 trains, and count the real nets.

# %% tags=["remove-input"]
TWINS = {"D": "D-7x7", "B": "B-5x5"}
swapped = {net: [i for i in range(5) if CONFIGS[net][i] != CONFIGS[TWINS[net]][i]] for net in TWINS}
table(
    {
        "": f"{twin.replace('x', '×')}, block {i + 1}",
        "in": next(x.in_channels for x in cost.layers(net) if x.name == f"conv{i + 1}_1"),
        "C": CONFIGS[net][i][0].channels,
        "3×3 stack": conv_weights(net, i + 1),
        "one layer": conv_weights(twin, i + 1),
        "more": more(conv_weights(twin, i + 1), conv_weights(net, i + 1)),
    }
    for net, twin in TWINS.items()
    for i in swapped[net]
)

# %% tags=["remove-input"]
fields = {net: cost.convolutions(net)[-1].receptive_field for net in CONFIGS}
block3, block4, block5 = (more(conv_weights("D-7x7", i), conv_weights("D", i)) for i in (3, 4, 5))
Markdown(
    f"Only block 5, with as many channels in as out, shows the full {block5}; in block 3 it is "
    f"{block3}, in block 4 {block4}, and in the first blocks of B the 5×5 layer even needs *fewer* "
    "weights than the pair.\n\n"
    + "\n".join(
        f"- **{net} → {twin.replace('x', '×')}**: {more(conv_weights(twin), conv_weights(net))} "
        f"weights in the convolutions, {more(weights[twin], weights[net], 1)} in the whole net "
        f"({counted[twin]:,} parameters against {counted[net]:,}), and "
        f"{multiply_adds[twin] / 1e9:.1f} billion multiply-adds instead of "
        f"{multiply_adds[net] / 1e9:.1f}. The last convolutions see {fields[net]} and {fields[twin]} px."
        for net, twin in TWINS.items()
    )
)

# %% [markdown]
# ## How far a layer sees
#
# Each 3×3 layer widens the receptive field by two steps of its input, and each pool doubles the
# step. So the field grows slowly at first and fast in block 5.

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-fields", "caption": "Receptive field of each convolution in pixels, with the sides of the paper's crop and of ours. At C's 1×1 layers the line does not rise."}, "image": {"alt": "Lines for nets A, B, C, D and E climbing from 3 px at the first convolution. The deeper the net, the larger the field; only that of E's last convolution is larger than the paper's crop."}}
nets.field_growth(drawn, (CROP, *SMALL_CROPS))
figures.plt.show()

# %% [markdown]
# Later chapters train smaller nets on smaller crops. The field does not shrink with the crop: it
# counts pixels and depends on the layers alone. The table has the field of the last convolution,
# divides it by the crop's side, and adds what fc6 sees.

# %% tags=["remove-input"]
table(
    {
        "net": net,
        "field, px": fields[net],
        **{f"÷ {crop} px": f"{fields[net] / crop:.2f}" for crop in (CROP, *SMALL_CROPS)},
        f"fc6 at {CROP} px": f"{cost.layers(net, crop=CROP)[-3].receptive_field} px",
    }
    for net in NETS
)

# %% tags=["remove-input"] mystnb={"figure": {"name": "fig-squares", "caption": "What one unit in the middle of D sees, after the last convolution of each block. The three panels have one scale; only the crop differs. Grey is outside the crop, where there is nothing but zero padding. The picture is one of the embedded data set."}, "image": {"alt": "Three panels, each with five nested squares of 5, 14, 40, 92 and 196 px around the middle of a picture. In a picture of 224 px all squares lie inside. In one of 64 px the two largest lie outside, in one of 32 px the three largest."}}
COLOURS = ("#F0E442", "#E69F00", "#D55E00", "#CC79A7", "#0072B2")
image = synthetic.draw(0, "val", 14).image
side = min(image.shape[:2])
top, left = ((length - side) // 2 for length in image.shape[:2])
seen = {layer.name[4]: layer.receptive_field for layer in cost.convolutions("D")}
fig, axes = figures.plt.subplots(1, 3, figsize=(5.8, 2.9), sharey=True)
for ax, crop in zip(axes, (CROP, *SMALL_CROPS), strict=True):
    half = crop / 2
    ax.set_facecolor("#d8d8d8")
    ax.imshow(image[top : top + side, left : left + side], extent=(-half, half, half, -half))
    for (block, field), colour in zip(seen.items(), COLOURS, strict=True):
        area = (-field / 2, -field / 2, field / 2, field / 2)
        ax.add_patch(figures.outline(area, colour, label=f"block {block}: {field} px"))
    ax.set(xlim=(-116, 116), ylim=(116, -116), xticks=(-75, 0, 75), yticks=(-75, 0, 75))
    ax.set(title=f"crop of {crop} px", xlabel="px")
    ax.spines[:].set_visible(False)
axes[0].set_ylabel("px")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
figures.plt.show()


# %% tags=["remove-input"]
def outgrows(net, crop):
    """The first convolution whose field is larger than the crop, in words."""
    found = [x.name for x in cost.convolutions(net) if x.receptive_field > crop]
    return f"from {found[0]} on" if found else "in no convolution"


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
# **The next question:** A-LRN is A with one layer that no other net has. Does it earn its place?
# [](02_lrn)
#
# ## Where this comes from
#
# Every number above is computed by `vggrepro/cost.py` from `vggrepro/configs.py`, and the paper's
# numbers are read from `vggrepro/study/paper_tables.csv`. No record is read. The tests compare the
# counts with the nets as PyTorch builds them. To compute this page again:
#
# ```bash
# .venv/bin/papermill book/01_architecture.ipynb out.ipynb
# ```
