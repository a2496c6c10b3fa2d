"""Small records made by hand, and where they are written."""

import json
from dataclasses import asdict

import numpy as np

from vggrepro.study import store
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import Evaluation, evaluations_of
from vggrepro.study.records import (
    Array,
    DataUsed,
    Epoch,
    EvalRecord,
    Provenance,
    TrainRecord,
    summarise,
)

EXPERIMENT = at_budget("A-S256", "smoke")
CENTRE_CROP = evaluations_of("A-S256")[0]
PROVENANCE = Provenance(
    command="vggrepro run A-S256",
    commit="0123456789",
    dirty=False,
    versions={"torch": "2.9.1"},
    device="cpu",
    processor="a processor",
    threads=1,
    finished="2026-01-02T03:04Z",
    wall_seconds=12.5,
    images_per_second=0.30000000000000004,
    peak_memory_mib=321.0,
)


def _common(experiment, seed):
    return {
        "experiment": json.loads(json.dumps(asdict(experiment))),
        "seed": seed,
        "precision": "float32",
        "weights_digest": "12ab" * 16,
        "provenance": PROVENANCE,
    }


def train_record(experiment=EXPERIMENT, seed=0, *, minival_error=60.5, **changes):
    """A training of two epochs, the last with that error in percent on minival.

    0.30000000000000004 has neighbours that are the same double.
    """
    curve = tuple(
        Epoch(
            epoch=epoch,
            learning_rate=0.02,
            running_loss=2.25,
            running_error=100 / 3,
            train_error=55.0,
            minival_error=minival_error if epoch else 60.5,
            minival_loss=0.30000000000000004,
        )
        for epoch in range(2)
    )
    fields = {
        "data": (DataUsed(name="synthetic", split="train", count=240, fingerprint="9f" * 32),),
        "parameters": 1234,
        "pixel_mean": (101.5, 102.25, 99.125),
        "curve": curve,
        "arrays": {"first_layer_filters": Array.of(np.arange(6, dtype="f2").reshape(2, 3) / 7)},
        **_common(experiment, seed),
    }
    return TrainRecord(**{**fields, **changes})


def eval_record(experiment=EXPERIMENT, seed=0, **changes):
    """Eleven images: three wrong in top-1, one in top-5."""
    correct = np.array([1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1], bool)
    correct_top5 = np.array([1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1], bool)
    log_probability = -np.arange(1, 12) / 7
    fields = {
        "protocol": CENTRE_CROP.protocol,
        "test_scales": CENTRE_CROP.test_scales,
        "test_pixels": (37,),
        "data": DataUsed(name="synthetic", split="val", count=11, fingerprint="8e" * 32),
        "positions": {"1x1": 11},
        **summarise(correct, correct_top5, log_probability),
        **_common(experiment, seed),
    }
    return EvalRecord(**{**fields, **changes})


def train_path(results_dir, experiment, seed):
    """Where the record of that training belongs."""
    return store.folder_of(results_dir, experiment, seed) / "train.json"


def eval_path(results_dir, experiment, seed, evaluation):
    """Where the record of that evaluation belongs."""
    return store.folder_of(results_dir, experiment, seed) / evaluation.file


def path_of(record, results_dir, experiment=EXPERIMENT):
    """Where the record belongs."""
    if isinstance(record, TrainRecord):
        return train_path(results_dir, experiment, record.seed)
    return eval_path(results_dir, experiment, record.seed, CENTRE_CROP)


def written(record, results_dir, experiment=EXPERIMENT):
    """The path of the record, after writing it there."""
    path = path_of(record, results_dir, experiment)
    store.write(record, path)
    return path


# --- a study of a known truth ---------------------------------------------------------------

IMAGES = 2000
CENTRE_256 = Evaluation("centre-crop", (256,))
CENTRE_384 = Evaluation("centre-crop", (384,))
ONE_Q, THREE_Q = Evaluation("dense", (384,)), Evaluation("dense", (256, 384, 512))


def common(run, data, seed, speed=100.0):
    """A run of the study's budget, and what all of its records have in common."""
    experiment = at_budget(run, "reduced", data)
    made = PROVENANCE.model_copy(update={"processor": "p", "images_per_second": speed})
    return experiment, _common(experiment, seed) | {"provenance": made}


def write(folder, run, evaluation, by_seed, data="cifar10"):
    """Records of these errors in percent; the log-loss is 0.1 where right, 2 where wrong."""
    for seed, error in by_seed.items():
        experiment, fields = common(run, data, seed)
        correct = np.arange(IMAGES) >= round(error * IMAGES / 100)
        record = EvalRecord(
            protocol=evaluation.protocol,
            test_scales=evaluation.test_scales,
            test_pixels=evaluation.test_scales,
            data=DataUsed(name=data, split="val", count=IMAGES, fingerprint=""),
            **summarise(correct, correct, np.where(correct, -0.1, -2.0)),
            **fields,
        )
        store.write(record, eval_path(folder, experiment, seed, evaluation))


def write_nets(folder, truth, seeds=range(5), sd=0.2, rng_seed=0):
    """Centre-crop records on CIFAR-10 of nets with these true errors."""
    rng = np.random.default_rng(rng_seed)
    shared = rng.normal(0, 0.3, 10)
    for run, error in truth.items():
        noisy = {k: error + shared[k] + rng.normal(0, sd) for k in seeds}
        write(folder, run, CENTRE_256, noisy)


NETS = {"A-S256": 20.0, "A-LRN-S256": 20.0, "B-S256": 18.5, "C-S256": 18.4, "D-S256": 16.0}
SHORT = {"A-short": 24.0, "D-short": 21.0}
