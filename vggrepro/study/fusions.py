"""Fusions (Section 4.4): the mean of several nets' posteriors, recorded with all its parents."""

import hashlib
import json

from vggrepro import distributed
from vggrepro.data import ImageSet
from vggrepro.evaluators import Tested, combine
from vggrepro.study import store
from vggrepro.study.experiments import FUSIONS, Evaluation, evaluation_in
from vggrepro.study.recording import keep, outcome, say
from vggrepro.study.records import FusionRecord, TrainRecord
from vggrepro.study.runs import Run


def fuse(fusion: Run) -> None:
    """Make the records of a fusion that are missing, or all of them with `fresh`.

    `fusion` says which, with which seed and where, as for a run; its nets are trained already.
    """
    members = FUSIONS[fusion.experiment.name].members(fusion.seed)
    nets = [(net, net.trained()) for net in (fusion.of(*member) for member in members)]
    todo = distributed.first(
        lambda: {
            evaluation: parents
            for evaluation in FUSIONS[fusion.experiment.name].evaluations
            if not _made(fusion, evaluation, parents := _parents(evaluation, nets))
        }
    )
    if not todo:
        say(fusion.experiment, fusion.seed, "already recorded")
        return
    found: dict[Evaluation, list[Tested]] = {evaluation: [] for evaluation in todo}
    for net, trained in nets:
        own = {evaluation: evaluation_in(evaluation, net.experiment.name) for evaluation in todo}
        parts = [part for evaluation in own.values() for part in evaluation.parts]
        tested = net.tested(net.with_weights(trained), parts)
        if distributed.rank() == 0:
            for evaluation, here in own.items():
                found[evaluation].append(combine([tested[part] for part in here.parts]))
    val = fusion.load("val")
    distributed.first(lambda: _write(fusion, val, todo, found))


def _write(
    fusion: Run,
    val: ImageSet,
    todo: dict[Evaluation, dict[str, str]],
    found: dict[Evaluation, list[Tested]],
) -> None:
    for evaluation, parents in todo.items():
        together = combine(found[evaluation])
        record = FusionRecord(
            parents=parents,
            weights_digest=hashlib.sha256(json.dumps(list(parents.values())).encode()).hexdigest(),
            **outcome(fusion.experiment, fusion.seed, fusion.machine, evaluation, val, together),
        )
        keep(record, evaluation, fusion.experiment, fusion.where.results_dir)


def _parents(evaluation: Evaluation, nets: list[tuple[Run, TrainRecord]]) -> dict[str, str]:
    """Digest of every net's weights, by what of it takes part: D-jitter/seed0/dense-384."""
    parents = {}
    for net, trained in nets:
        own = evaluation_in(evaluation, net.experiment.name)
        parents[f"{net.experiment.name}/seed{net.seed}/{own.name}"] = trained.weights_digest
    return parents


def _made(fusion: Run, evaluation: Evaluation, parents: dict[str, str]) -> bool:
    path = store.eval_path(fusion.where.results_dir, fusion.experiment, fusion.seed, evaluation)
    if fusion.where.fresh or not path.exists():
        return False
    return store.read(path).parents == parents
