"""The trainings of the GPU round, seed by seed, all nets of a seed first, as time allows.

Called by `gpu_session.py`; `vggrepro run` does the same without a limit of time. What is complete
is skipped. A training that is stopped begins anew: to write a checkpoint takes as long as an epoch.
"""

import argparse
import math
import time
from pathlib import Path

from vggrepro.bench import planner
from vggrepro.files import expanded, make_writable
from vggrepro.process import in_order
from vggrepro.study import gpu_round, workload
from vggrepro.study.budgets import at_budget, data_of
from vggrepro.study.runner import Task, run_tasks
from vggrepro.study.status import complete
from vggrepro.study.store import Where

PARTS = {part.budget: part for part in gpu_round.PARTS.values()}
PARTS["smoke"] = PARTS["gpu-32"]._replace(budget="smoke", seeds=(0,))
CARD = "h200"  # what the planner knows of the card; the first training corrects it


def tasks(budget: str) -> list[Task]:
    """Every training of the round at that budget, in its order."""
    return [(run, seed) for seed in PARTS[budget].seeds for run in PARTS[budget].runs]


def train(budget: str, where: Where, seconds: float) -> list[Task]:
    """Train what there is time for, and return what is left.

    A training is begun only if it should end in time: the planner's seconds, times what the
    trainings so far took beyond them.
    """
    began, data, left = time.monotonic(), data_of(budget), tasks(budget)
    rate = planner.on_device(planner.device_named(CARD)).seconds
    expected = taken = 0.0
    while left:
        experiment = at_budget(left[0][0], budget, data)
        if not complete(where.results_dir, experiment, left[0][1]):
            planned = rate(workload.training(experiment))
            factor = taken / expected if expected else 1.0
            remaining = seconds - (time.monotonic() - began)
            if planned * factor > remaining:
                break
            started = time.monotonic()
            run_tasks(left[:1], budget, data, where)
            taken, expected = taken + time.monotonic() - started, expected + planned
            name, seed = left[0]
            print(f"{name} seed {seed}: {time.monotonic() - started:.1f} s, planned {planned:.1f}")
        left = left[1:]
    return left


def main() -> None:
    """The command line that `gpu_session.py` uses."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--work", type=lambda name: expanded(name).resolve(), required=True)
    parser.add_argument("--budget", required=True, choices=PARTS)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    if not 0 <= options.seconds < math.inf:
        parser.error(f"--seconds {options.seconds}: give how long trainings may take, 0 or more")
    make_writable(options.work)
    cache = options.work.with_name(f"{options.work.name}-cache")  # beside the records
    where = Where(options.work, options.data_dir, cache, device=options.device, checkpoints=False)
    left = train(options.budget, where, options.seconds)
    print(f"{len(left)} trainings are left{': ' if left else ''}{left[:7]}")


if __name__ == "__main__":
    with in_order():
        main()
