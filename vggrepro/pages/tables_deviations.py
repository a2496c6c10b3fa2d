"""Until every chapter stands on `Chapter`."""

from vggrepro.pages import summary


def deviations_table(runs, columns):
    """Of one run or several."""
    return summary.deviations_table([runs] if isinstance(runs, str) else runs, columns)
