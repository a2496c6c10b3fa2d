"""The paper's claims as data, written down before the runs that decide them.

What the fields mean, the sign of a difference and the rules are in `rules`. The paper's own
differences are taken from its tables.
"""

from functools import partial

from vggrepro import UserError
from vggrepro.study.experiments import Evaluation
from vggrepro.study.rules import (
    JITTER,
    Claim,
    Said,
    Side,
    best_q,
    centre,
    fusion_gain,
    gain_of_several_q,
    growth_with_depth,
    one_q,
    table_3,
    table_5,
    three_q,
)

_BOTH = "multi-crop & dense"
_SMALL = (
    "Whether it is so at 224 px: these nets are narrow, and after the last pool one position is "
    "left (CIFAR-10)."
)
_COARSE = "Whether it is so at 224 px: a small image has a score map of very few positions."

_exact = partial(Claim, sides=None, rule="exact", test="arithmetic")
_ARCHITECTURE = (
    _exact(
        key="seven-by-seven",
        statement="A 7x7 convolution has 81 % more weights than three 3x3 ones of the same width.",
        quote="seven-by-seven",
        chapter="01_architecture",
        matters=1.0,
        paper=Said(81.0, "Section 2.3, in percent"),
        cannot="What the weights are worth: that is another claim.",
    ),
    _exact(
        key="parameters",
        statement="For all their depth the nets have no more weights than OverFeat's 144 million.",
        quote="weights",
        chapter="01_architecture",
        matters=0.0,
        paper=growth_with_depth(),
        cannot="OverFeat's number is the paper's word.",
    ),
    _exact(
        key="lrn-costs-memory",
        statement="Local response normalisation adds activations to be kept for training.",
        quote="lrn-costs",
        chapter="02_lrn",
        matters=0.0,
        paper=Said(None, "The paper gives no sizes."),
        cannot="What an implementation keeps beside the layer's output.",
    ),
)

_depth = partial(Claim, quote="depth", chapter="03_depth", matters=0.5, cannot=_SMALL)
_context = partial(Claim, quote="context", chapter="04_filters_1x1", matters=0.5)
_NETS = (
    Claim(
        key="lrn-costs-time",
        statement="Local response normalisation makes training slower.",
        quote="lrn-costs",
        chapter="02_lrn",
        sides=centre("A-S256", "A-LRN-S256"),
        matters=5.0,
        paper=Said(None, "The paper gives no times."),
        cannot="What it costs on other hardware or in another implementation.",
        test="measurement",
        seeds=12,
    ),
    Claim(
        key="lrn-does-not-help",
        statement="Local response normalisation does not lower the error of net A.",
        quote="lrn",
        chapter="02_lrn",
        sides=centre("A-S256", "A-LRN-S256"),
        matters=0.5,
        paper=table_3("A", "A-LRN"),
        cannot="Smaller gains. At a quarter of the width LRN spans 5 of 16 channels, not of 64.",
        rule="not worse",
        primary=True,
        controls=(("after half the epochs", centre("A-short", "A-LRN-short")),),
    ),
    _depth(
        key="depth-a-to-d",
        statement="The error falls from 11 layers (A) to 16 (D).",
        sides=centre("D-S256", "A-S256"),
        paper=table_3("D", "A"),
        primary=True,
        other_length=centre("D-short", "A-short"),
        controls=(
            ("A with the extra training that D had", centre("D-S256", "A-from-A")),
            ("D from random weights, as long in all", centre("D-he-long", "A-from-A")),
            ("A too from random weights, as long in one go", centre("D-he-long", "A-he-long")),
        ),
    ),
    _depth(
        key="depth-a-to-b",
        statement="The error falls from 11 layers (A) to 13 (B).",
        sides=centre("B-S256", "A-S256"),
        paper=table_3("B", "A"),
        controls=(("A with the extra training that B had", centre("B-S256", "A-from-A")),),
    ),
    _depth(
        key="depth-b-to-d",
        statement="The error falls from 13 layers (B) to 16 (D).",
        sides=centre("D-S256", "B-S256"),
        paper=table_3("D", "B"),
    ),
    Claim(
        key="depth-saturates",
        statement="From 16 layers (D) to 19 (E) the error no longer changes.",
        quote="saturates",
        chapter="03_depth",
        sides=centre("D-S256", "E-S256"),
        matters=0.3,
        paper=table_3("D", "E"),
        cannot="Hardly decidable: with three seeds the interval is wider than what matters.",
        rule="same",
    ),
    _context(
        key="c-beats-b",
        statement="1x1 convolutions, which add non-linearity alone, help (C against B).",
        sides=centre("C-S256", "B-S256"),
        paper=table_3("C", "B"),
        cannot="How non-linearity and weights share in it: the control without ReLU only hints.",
        controls=(("the ReLU alone", centre("C-S256", "C-linear-S256")),),
        rivals=(("1x1 layers without a ReLU: weights alone", centre("C-linear-S256", "B-S256")),),
    ),
    _context(
        key="d-beats-c",
        statement="3x3 convolutions, which see context, beat 1x1 ones in their place (D and C).",
        sides=centre("D-S256", "C-S256"),
        paper=table_3("D", "C"),
        cannot="What context does on a large map: at 32 px the last taps are mostly on padding.",
        primary=True,
        controls=(("C with as many weights as D", centre("D-S256", "C-wide-S256")),),
    ),
    Claim(
        key="small-filters",
        statement="Two 3x3 convolutions beat one 5x5 (B against its shallow twin).",
        quote="small-filters",
        chapter="05_large_filters",
        sides=centre("B-he", "B-5x5-he"),
        matters=1.0,
        paper=Said(7.0, "Section 4.1 in words, by centre crop, read as points"),
        cannot="Whether the size of filters does it or depth; the twin has more weights.",
        primary=True,
    ),
    Claim(
        key="three-small-filters",
        statement="Three 3x3 convolutions beat one 7x7 (D against its twin).",
        quote="seven-by-seven",
        chapter="05_large_filters",
        sides=centre("D-he", "D-7x7-he"),
        matters=1.0,
        paper=Said(None, "Section 2.3 argues for it; the paper trains no such net."),
        cannot="On the last maps of a 32 px image a 7x7 filter covers more padding than image.",
        ours=True,
    ),
    Claim(
        key="glorot",
        statement="A deep net trains from Glorot's start as well as from net A (D).",
        quote="init-glorot",
        chapter="10_initialisation",
        sides=centre("D-glorot", "D-S256"),
        matters=1.0,
        paper=Said(None, "The paper says so without numbers."),
        cannot="Nets at full width on unscaled inputs, where a start decides more than here.",
        ours=True,
        rule="not worse",
        controls=(("both from random weights, He's and Glorot's", centre("D-glorot", "D-he")),),
    ),
    Claim(
        key="net-a-start",
        statement="Starting from net A helps a deep net, beyond the extra training it is (D).",
        quote="init-from-a",
        chapter="10_initialisation",
        sides=centre("D-S256", "D-he-long"),
        matters=0.5,
        paper=Said(None, "The paper gives no error without that start."),
        cannot="The start that the paper needed it for: here random nets start by He's rule.",
        ours=True,
        rivals=(("what the same start does for A itself", centre("A-from-A", "A-S256")),),
    ),
)

_LONGER = ("longer training alone", centre("D-S384-longer", "D-S384"))
_jitter = partial(
    Claim,
    quote="jitter-training",
    chapter="06_scale_jitter",
    matters=1.0,
    data="imagenette",
    cannot=_COARSE,
)
_several_q = partial(
    Claim,
    quote="jitter-testing",
    chapter="07_test_scales",
    matters=0.3,
    test="same weights",
    data="imagenette",
    cannot=_COARSE,
)
_SCALES = (
    _jitter(
        key="jitter-equal-epochs",
        statement="Many training scales beat one, from the same weights for as many epochs.",
        sides=centre("D-jitter", "D-S384-longer"),
        paper=Said(None, "The paper has no such control."),
        ours=True,
        primary=True,
        controls=(("by dense evaluation", (one_q("D-jitter"), one_q("D-S384-longer"))),),
        rivals=(_LONGER,),
    ),
    _jitter(
        key="jitter-best-q",
        statement="Many training scales beat one, each net at its own best Q.",
        sides=(best_q("D-jitter"), best_q("D-S384-longer")),
        paper=Said(None, "The paper tests each net at one Q and at three together."),
        cannot="Q is chosen on the images that it is reported on, alike for both sides.",
        ours=True,
        test="same start",
    ),
    _jitter(
        key="jitter-as-in-the-paper",
        statement="A jittered net beats the net at S = 384 from which it started.",
        sides=centre("D-jitter", "D-S384"),
        paper=table_3("D", "D", (JITTER, 384)),
        cannot="Whether jittering does it or longer training.",
        rivals=(_LONGER,),
    ),
    _several_q(
        key="several-q-fixed",
        statement="Three test scales beat one, for a net trained at one scale.",
        sides=(three_q("D-S256"), one_q("D-S256")),
        paper=Said(gain_of_several_q(256), "Tables 3 and 4"),
    ),
    _several_q(
        key="several-q-jittered",
        statement="Three test scales beat one, for a net trained at many.",
        sides=(three_q("D-jitter"), one_q("D-jitter")),
        paper=Said(gain_of_several_q(JITTER), "Tables 3 and 4"),
        primary=True,
        controls=(("shifts at one Q", (three_q("D-jitter"), one_q("D-jitter", "dense-shifted"))),),
    ),
    _several_q(
        key="several-q-help-jittered-more",
        statement="Three test scales help a net trained at many more than one trained at one.",
        sides=(three_q("D-jitter"), one_q("D-jitter")),
        less=(three_q("D-S384-longer"), one_q("D-S384-longer")),
        paper=Said(
            round(gain_of_several_q(JITTER) - gain_of_several_q(384), 1),
            "our reading of Tables 3 and 4, against S = 384",
        ),
        cannot="The jittered net's three Q lie further apart, as in the paper.",
        ours=True,
    ),
    Claim(
        key="scale-gap",
        statement="A test scale far from the training scale hurts (Q = 512 at S = 256).",
        quote="scale-gap",
        chapter="07_test_scales",
        sides=(one_q("D-S256"), Side("D-S256", Evaluation("dense", (512,)))),
        matters=1.0,
        paper=Said(None, "The paper says so without numbers."),
        cannot="How large the gap may be: the curve over Q shows it and decides nothing.",
        test="same weights",
        data="imagenette",
    ),
)


_SHIFTED = three_q("D-jitter", "dense-shifted")
_tested = partial(
    Claim,
    quote="multi-crop",
    chapter="08_multi_crop",
    matters=0.2,
    test="same weights",
    data="imagenette",
    cannot=_COARSE,
)
_PROTOCOLS = (
    _tested(
        key="multi-crop-beats-dense",
        statement="Many crops are slightly better than dense evaluation.",
        sides=(three_q("D-jitter", "multi-crop"), three_q("D-jitter")),
        paper=table_5("multi-crop", "dense"),
        cannot="Hardly decidable: so small a difference also hangs on where the grid falls.",
        controls=(("dense on shifted grids", (three_q("D-jitter", "multi-crop"), _SHIFTED)),),
    ),
    _tested(
        key="both-beat-dense",
        statement="Crops and dense evaluation together beat dense evaluation alone.",
        sides=(three_q("D-jitter", _BOTH), three_q("D-jitter")),
        paper=table_5(_BOTH, "dense"),
    ),
    _tested(
        key="both-beat-multi-crop",
        statement="Crops and dense evaluation together beat crops alone.",
        sides=(three_q("D-jitter", _BOTH), three_q("D-jitter", "multi-crop")),
        paper=table_5(_BOTH, "multi-crop"),
    ),
    Claim(
        key="two-nets-beat-one",
        statement="Two different nets together beat one of them (D and E against D).",
        quote="fusion",
        chapter="09_fusion",
        sides=(three_q("D-jitter+E-jitter"), three_q("D-jitter")),
        matters=0.3,
        paper=fusion_gain(),
        cannot="With the one seed planned for the jittered E it stays open.",
        test="same weights",
        data="imagenette",
        controls=(
            ("two seeds of D", (three_q("D-jitter+E-jitter"), three_q("D-jitter+D-jitter"))),
        ),
    ),
)

CLAIMS: dict[str, Claim] = {
    claim.key: claim for claim in (*_ARCHITECTURE, *_NETS, *_SCALES, *_PROTOCOLS)
}


def claim_named(key: str) -> Claim:
    """The claim of that key.

    Raises `UserError`, naming the claims there are.
    """
    if key not in CLAIMS:
        raise UserError(f"unknown claim {key!r}; choose one of: {', '.join(CLAIMS)}")
    return CLAIMS[key]
