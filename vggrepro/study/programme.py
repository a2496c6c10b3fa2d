"""The programme of the recorded study: its runs on each set of photos, their seeds, their order.

Derived from the claims and the chapters, so that what is planned, run and waited for is one list.
"""

from functools import cache

from vggrepro import UserError
from vggrepro.study.claims import CLAIMS
from vggrepro.study.experiments import FUSIONS, RANDOM_STARTS, in_order, with_needs
from vggrepro.study.rules import POOLED, Claim, Side

# --- which runs each chapter reads; what they start from is added where it is needed ------

CHAPTER_RUNS: dict[str, tuple[str, ...]] = {
    "02_lrn": ("A-S256", "A-LRN-S256", "A-short", "A-LRN-short"),
    "03_depth": (
        *("A-S256", "A-LRN-S256", "B-S256", "C-S256", "D-S256", "E-S256"),
        *("A-from-A", "D-he-long", "A-he-long", "A-short", "D-short"),
    ),
    "04_filters_1x1": ("B-S256", "C-linear-S256", "C-S256", "C-wide-S256", "D-S256"),
    "05_large_filters": ("B-he", "B-5x5-he", "D-he", "D-7x7-he"),
    "06_scale_jitter": tuple(
        f"{config}-{scale}"
        for config in "CDE"
        for scale in ("S256", "S384", "S384-longer", "jitter")
    ),
    "07_test_scales": (
        *("B-S256", "C-S256", "C-S384", "C-jitter"),
        *("D-S256", "D-S384", "D-S384-longer", "D-jitter"),
        *("E-S256", "E-S384", "E-jitter"),
    ),
    "08_multi_crop": ("D-jitter", "E-jitter"),
    "09_fusion": ("D-jitter", "E-jitter", *FUSIONS),
    "10_initialisation": (
        *(f"{net}-{init}" for init in RANDOM_STARTS for net in "ADE"),
        *("A-S256", "D-S256", "E-S256", "A-from-A", "D-he-long"),
    ),
    "11_costs": ("A-S256", "A-LRN-S256", "B-S256", "C-S256", "D-S256", "E-S256"),
}


# --- what the recorded study runs ---------------------------------------------------------

BUDGET = "reduced"
DATA = tuple(dict.fromkeys(claim.data for claim in CLAIMS.values() if claim.sides))
"""The photos that claims are decided on."""

#: Nets whose claims the other photos decide, repeated so that the two can be compared.
REPEATED = {"imagenette": (("A-S256", "A-LRN-S256", "B-S256", "C-S256", "D-S256"), 3)}
#: Planned once although a claim names more seeds: E-jitter is the end of a long chain, and the
#: fusions are compared by the seed that has it. The claim says so.
ONCE = {"imagenette": ("E-jitter", "D-jitter+E-jitter", "D-jitter+D-jitter")}


@cache
def seeds(data: str) -> dict[str, int]:
    """Run or fusion to its number of seeds, what others start from before them.

    A claim on `data` needs its number of seeds of every run that it or a control of it names. A
    chapter whose claims are decided on `data` shows each of its other runs with one seed. What a
    run starts from, or fuses, is there for every seed. Raises `UserError` for photos on which no
    claim is decided.
    """
    if data not in DATA:
        raise UserError(f"the recorded study has no runs on {data!r}; choose: {', '.join(DATA)}")
    found: dict[str, int] = {}

    def need(run: str, count: int) -> None:
        for needed, seed in with_needs([(run, count - 1)]):
            found[needed] = max(found.get(needed, 0), seed + 1)

    for claim in CLAIMS.values():
        for run in runs_of(claim) if claim.data == data else ():
            need(run, 1 if run in ONCE.get(data, ()) else claim.seeds)
    for run in POOLED.get(data, ()):
        need(run, 1)
    for claim in CLAIMS.values():
        for run in CHAPTER_RUNS[claim.chapter] if claim.data == data and runs_of(claim) else ():
            need(run, 1)
    repeated, count = REPEATED.get(data, ((), 0))
    for run in repeated:
        need(run, count)
    return {run: found[run] for run in in_order(list(found))}


def tasks(data: str, only: int | None = None) -> list[tuple[str, int]]:
    """(run or fusion, seed): one seed of everything before the second of anything.

    With `only`, those of that seed. Raises `UserError` as `seeds`, and if there is no such seed.
    """
    counts = seeds(data)
    most = max(counts.values(), default=0)
    if only is not None and only >= most:
        raise UserError(f"the recorded study on {data} has seeds 0 to {most - 1}, not {only}")
    chosen = range(most) if only is None else [only]
    return [(run, seed) for seed in chosen for run, count in counts.items() if seed < count]


def runs_of(claim: Claim) -> list[str]:
    """The runs and fusions that a claim about errors, a control or a rival of it names."""
    if not claim.about_errors:
        return []
    beside = (sides for _, sides in (*claim.controls, *claim.rivals))
    pairs = [claim.sides, claim.less, claim.other_length, *beside]
    sides: list[Side] = [side for pair in pairs if pair for side in pair]
    return list(dict.fromkeys(side.run for side in sides))
