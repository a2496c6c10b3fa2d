"""Which runs each chapter of the book reads; what they start from is added where it is needed."""

from vggrepro.study.experiments import FUSIONS, RANDOM_STARTS

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
