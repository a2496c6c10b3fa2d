"""The claims that need no training: what the paper's nets have by arithmetic, at its geometry."""

from collections.abc import Callable
from typing import NamedTuple

from vggrepro import cost
from vggrepro.study import paper
from vggrepro.study.criteria import Claim

OVERFEAT = 144e6
"""Weights of OverFeat's net, which the paper quotes (Section 2.2)."""


class Exact(NamedTuple):
    """A figure in percent more, and whether the claim holds.

    Where another number decides, `here` has it in words, and `reason` what the figure is then.
    """

    figure: float
    holds: bool
    here: str = ""
    reason: str = ""


def _seven_by_seven(claim: Claim) -> Exact:
    """More weights in D-7x7's fifth block than in D's, whose layers have one width."""
    small, large = (
        sum(layer.weights for layer in cost.layers(config) if layer.name.startswith("conv5"))
        for config in ("D", "D-7x7")
    )
    more = 100 * (large / small - 1)
    return Exact(more, abs(more - claim.paper.difference) < claim.matters)


def _parameters(claim: Claim) -> Exact:
    """Growth from A to E; the largest of all nets against `OVERFEAT` decides."""
    weights = {net: sum(layer.weights for layer in cost.layers(net)) for net in paper.TABLE_1}
    most = max(weights, key=weights.__getitem__)
    growth = 100 * (weights["E"] / weights["A"] - 1)
    return Exact(
        growth,
        weights[most] <= OVERFEAT,
        here=f"{weights[most] / 1e6:.2f} of {OVERFEAT / 1e6:g} million",
        reason=f"the most that any net has ({most}); from A to E they grow by {growth:.1f} %",
    )


def _lrn_memory(claim: Claim) -> Exact:
    """Activations of A-LRN over those of A."""
    without, with_lrn = (
        sum(layer.activations for layer in cost.layers(net)) for net in ("A", "A-LRN")
    )
    return Exact(100 * (with_lrn / without - 1), with_lrn > without)


ARITHMETIC: dict[str, Callable[[Claim], Exact]] = {
    "seven-by-seven": _seven_by_seven,
    "parameters": _parameters,
    "lrn-costs-memory": _lrn_memory,
}


def said(claim: Claim) -> str:
    """The paper's own difference with its sign and unit, – if it gives none.

    Where another number than the claim's difference decides, the paper's own of that.
    """
    if claim.key == "parameters":
        return f"{paper.parameters_millions('E')} of {OVERFEAT / 1e6:g} million"
    if claim.paper.difference is None:
        return "–"
    given = claim.paper.difference
    return f"{given:+.1f}" if claim.about_errors else f"{given:+g} %"
