"""What runs and fusions write down: the fields that their records share, and the writing."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from vggrepro import distributed
from vggrepro.data import ImageSet
from vggrepro.device import Machine
from vggrepro.evaluators import Tested, outcomes
from vggrepro.study import store
from vggrepro.study.budgets import data_dir_option
from vggrepro.study.experiments import SECOND_ROUND, Evaluation, Experiment
from vggrepro.study.provenance import provenance
from vggrepro.study.records import DataUsed, EvalRecord, summarise
from vggrepro.windows import scaled


def say(experiment: Experiment, seed: int, text: str) -> None:
    """Tell the user something about a run or a fusion, above the progress bar."""
    if distributed.rank() > 0:
        return
    e = experiment
    tqdm.write(f"{e.budget}/{e.data}/{e.name} seed {seed}: {text}", file=sys.stderr)


def common(
    experiment: Experiment,
    seed: int,
    chosen: Machine,
    wall_seconds: float,
    images_per_second: float,
) -> dict:
    """The fields that every record has."""
    world = distributed.world()
    # The ranks may have been spread over machines; the result is that of as many on one.
    torchrun = f"torchrun --nproc-per-node {world} -m " if world > 1 else ""
    command = (
        f"{torchrun}vggrepro run {experiment.name} --budget {experiment.budget} "
        f"--data {experiment.data}{data_dir_option(experiment.data)} --seed {seed} "
        f"{chosen.options()}"
    )
    return {
        "experiment": json.loads(json.dumps(asdict(experiment))),
        "seed": seed,
        "precision": chosen.precision,
        "provenance": provenance(
            chosen, command, wall_seconds=wall_seconds, images_per_second=images_per_second
        ),
    }


def outcome(
    experiment: Experiment,
    seed: int,
    chosen: Machine,
    evaluation: Evaluation,
    val: ImageSet,
    together: Tested,
) -> dict:
    """The fields of an evaluation's record, but for the weights that it rests on."""
    seconds = together.seconds
    return {
        "protocol": evaluation.protocol,
        "test_scales": evaluation.test_scales,
        "test_pixels": tuple(scaled(q, experiment.crop) for q in evaluation.test_scales),
        "data": used(val),
        "positions": together.positions,
        **summarise(*outcomes(together.posteriors, val.targets)),
        **common(experiment, seed, chosen, seconds, len(val) / seconds if seconds else 0.0),
    }


def keep(
    record: EvalRecord, evaluation: Evaluation, experiment: Experiment, results_dir: Path
) -> None:
    """Write the record of an evaluation and say its error.

    Of the second round nobody sees an error before it is complete (`second_round`).
    """
    path = store.eval_path(results_dir, experiment, record.seed, evaluation)
    store.write(record, path)
    hidden = experiment.name in SECOND_ROUND
    found = "recorded" if hidden else f"top-1 error {record.top1_error:.2f} %"
    say(experiment, record.seed, f"{evaluation.name}: {found}")


def used(images: ImageSet) -> DataUsed:
    """Which images a record is about."""
    return DataUsed(
        name=images.name, split=images.split, count=len(images), fingerprint=images.fingerprint
    )
