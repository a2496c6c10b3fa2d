"""The paper's claims, written down in `claims.toml` before the runs that decide them.

What the fields mean, the sign of a difference and the rules are in `rules`. The paper's own
differences are taken from its tables.
"""

from collections.abc import Sequence
from typing import Any

from vggrepro import check_known
from vggrepro.files import beside
from vggrepro.study import paper
from vggrepro.study.experiments import CURVE, SECOND_ROUND, WIDER_CURVE, Evaluation
from vggrepro.study.rules import Claim, Said, Side, Sides, one_q, three_q

_WRITTEN = beside(__file__)

# --- the paper's own differences ----------------------------------------------------------

_JITTER = "[256;512]"


# The paper's errors have one decimal, and so have their differences.
def _table_3(first: str, second: str, *scales: int | str) -> Said:
    """Table 3's difference of two nets, trained at these S; at 256 if none are given."""
    errors = [
        paper.value(3, net=net, train_scale=scale)
        for net, scale in zip((first, second), scales or (256, 256), strict=True)
    ]
    return Said(round(errors[1] - errors[0], 1), "Table 3, dense evaluation at one Q")


def _several_q(train_scale: int | str, other: int | None = None) -> Said:
    """What Table 4 gains over Table 3, net D; or how much more than at another S."""
    if other:
        more = _several_q(train_scale).difference - _several_q(other).difference
        return Said(round(more, 1), f"our reading of Tables 3 and 4, against S = {other}")
    one, several = (paper.value(table, net="D", train_scale=train_scale) for table in (3, 4))
    return Said(round(one - several, 1), "Tables 3 and 4")


def _table_5(first: str, second: str) -> Said:
    """Table 5's difference of two protocols, net D."""
    errors = [paper.value(5, net="D", protocol=protocol) for protocol in (first, second)]
    return Said(round(errors[1] - errors[0], 1), "Table 5, net D at three Q")


def _fusion_gain() -> Said:
    """What Table 6's two nets gain over D alone, by dense evaluation."""
    two = paper.value(6, net="post-submission, 2 nets: D+E", protocol="dense")
    one = paper.value(4, net="D", train_scale=_JITTER)
    return Said(round(one - two, 1), "Tables 4 and 6, dense evaluation at three Q")


def _growth_with_depth() -> Said:
    """How many more parameters E has than A, in percent of A."""
    shallow, deep = (paper.parameters_millions(net) for net in ("A", "E"))
    return Said(round(100 * (deep / shallow - 1), 1), "Table 2, E over A, in percent")


_SAID = {
    "said": Said,
    "table_3": _table_3,
    "several_q": _several_q,
    "table_5": _table_5,
    "fusion_gain": _fusion_gain,
    "growth_with_depth": _growth_with_depth,
}

# --- from the file to claims --------------------------------------------------------------

_TAKEN_OVER = ("quote", "chapter", "matters", "paper", "rule", "data", "ours")


def read(of_round: str, **alike: Any) -> dict[str, Claim]:
    """The claims of a round, `first` or `second`, by key; `alike` is what all of them have."""
    return {
        key: _claim(written | {"key": key, "round": of_round} | alike)
        for key, written in _WRITTEN[of_round].items()
    }


def _claim(written: dict[str, Any]) -> Claim:
    asked = _WRITTEN["first"].get(written.get("again"), {})
    fields = {name: asked[name] for name in _TAKEN_OVER if name in asked} | written
    for name in ("sides", "less", "other_length", "also"):
        if name in fields:
            fields[name] = _pair(fields[name])
    for name in ("controls", "rivals"):
        pairs = fields.get(name, {})
        fields[name] = tuple((what, _pair(pair)) for what, pair in pairs.items())
    return Claim(
        **fields
        | {
            "paper": _said(fields["paper"]),
            "cannot": _WRITTEN["cannot"].get(fields["cannot"], fields["cannot"]),
            "alive": tuple(map(_pair, fields.get("alive", ()))),
            "beside": tuple(
                (what, _pair(one["sides"]), _said(one["paper"]))
                for what, one in fields.get("beside", {}).items()
            ),
        }
    )


def _pair(written: Sequence[str]) -> Sides:
    first, second = map(_side, written)
    return first, second


def _side(written: str) -> Side:
    run, *test = written.split(", ")
    match test:
        case []:
            return one_q(run, "centre-crop")
        case [protocol]:
            return one_q(run, protocol)
        case [protocol, "3 Q"]:
            return three_q(run, protocol)
        case [_, "best Q"]:
            # The best single Q over the interval on which the jittered nets are trained.
            first, *others = WIDER_CURVE if run in SECOND_ROUND else CURVE
            return Side(run, first, tuple(others))
        case [protocol, q]:
            return Side(run, Evaluation(protocol, (int(q.removeprefix("Q = ")),)))
    raise ValueError(f"not a side of a claim: {written!r}")


def _said(written: str | dict[str, Sequence]) -> Said:
    if isinstance(written, str):
        return Said(None, written)
    ((how, of),) = written.items()
    return _SAID[how](*of)


CLAIMS: dict[str, Claim] = read("first")


def claim_named(key: str) -> Claim:
    """The claim of that key.

    Raises `UserError`, naming the claims there are.
    """
    check_known("claim", key, CLAIMS)
    return CLAIMS[key]
