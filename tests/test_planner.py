"""The planner against torch's own counts, against what autograd keeps, and against the paper."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.records_by_hand import PROVENANCE, train_path, train_record
from vggrepro import UserError, cost, data
from vggrepro.bench import planner
from vggrepro.bench.planner import DEVICES
from vggrepro.configs import CONFIGS
from vggrepro.data.synthetic import LONGEST_ASPECT, SHORT_SIDE
from vggrepro.models import LRN, VGG, to_dense
from vggrepro.study import budgets, programme, runner, store, workload
from vggrepro.study.budgets import BUDGETS, at_budget
from vggrepro.study.experiments import FUSIONS, RUNS, evaluation_in, evaluations_of, with_needs
from vggrepro.study.workload import Work
from vggrepro.windows import PROTOCOLS

configs = st.sampled_from(sorted(CONFIGS))
small = st.fixed_dictionaries(
    {
        "num_classes": st.integers(1, 50),
        "width": st.floats(1 / 64, 0.5),
        "crop": st.integers(32, 130),
        "hidden": st.integers(1, 64),
    }
)
FULL = at_budget("D-jitter", "full")


def meta_net(config, **size):
    """The net without memory; LRN left out, whose band is not counted as multiply-adds."""
    with torch.device("meta"):
        model = VGG(config, **size)
    for i, module in enumerate(model.features):
        if isinstance(module, LRN):
            model.features[i] = nn.Identity()
    return model


def flops(run):
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return counter.get_total_flops()


# --- work ---------------------------------------------------------------------------------


@given(config=configs, size=small)
@settings(max_examples=15)
def test_a_training_step_is_what_torch_counts(config, size):
    model, crop = meta_net(config, **size), size["crop"]
    images = torch.empty(1, 3, crop, crop, device="meta")
    counted = flops(lambda: model(images).sum().backward())
    net = cost.layers(config, **size)
    step = workload.training_step(net)
    assert counted == 2 * step.multiply_adds  # torch counts a multiplication and an addition
    assert step.multiply_adds == 3 * cost.multiply_adds(config, **size) - net[0].multiply_adds


@given(
    config=configs,
    size=small,
    extra=st.tuples(st.integers(0, 70), st.integers(0, 70)),
    every_offset=st.booleans(),
)
@settings(max_examples=15)
def test_dense_evaluation_is_what_torch_counts(config, size, extra, every_offset):
    model = to_dense(meta_net(config, **size), every_offset=every_offset)
    height, width = (size["crop"] + more for more in extra)
    moved = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.Identity):
            module.register_forward_hook(lambda _m, _i, out: moved.append(out.numel()))
    counted = flops(lambda: model(torch.empty(1, 3, height, width, device="meta")))
    net = cost.layers(config, **size)
    work = workload.forward(net, height, width, every_offset=every_offset)
    assert counted == 2 * work.multiply_adds
    assert work.values == workload.FORWARD_MOVES * sum(moved)
    assert (work.lrn_values > 0) == (config == "A-LRN")


def test_cropping_protocols_see_so_many_crops():
    crop = workload.forward(workload.net_of(FULL), 224, 224).multiply_adds
    views = {"centre-crop": 2, "multi-crop": 50, "alexnet-10": 10, "googlenet-144": 36}
    for protocol, count in views.items():
        work = workload.per_image(FULL, protocol, 256)
        assert work.multiply_adds == count * crop, protocol
        assert work.crops == count / 2
    three = sum(workload.per_image(FULL, "multi-crop", q).multiply_adds for q in (256, 384, 512))
    assert three == 150 * crop  # Section 3.2: "150 crops over 3 scales"


def test_the_typical_photo_stands_for_photos_of_its_shape():
    draw = random.Random(0)
    sizes = [(3 * n, 4 * n) for n in (draw.randint(80, 900) for _ in range(20))]
    sizes += [(width, height) for height, width in sizes]
    net = workload.net_of(FULL)
    for protocol, windows in PROTOCOLS.items():
        seen = [
            sum(
                2 * workload.forward(net, w.height, w.width, every_offset=offsets).multiply_adds
                for w in windows(size, 384, 224)
            )
            for size in sizes
            for offsets in [protocol == "overfeat"]
        ]
        assert np.mean(seen) == workload.per_image(FULL, protocol, 384).multiply_adds, protocol


def test_a_training_is_its_epochs_with_the_evaluation_after_each():
    smoke = at_budget("A-S256", "smoke")
    size, net = budgets.data_size(smoke), workload.net_of(smoke)
    step, forward = (
        workload.training_step(net).multiply_adds,
        cost.multiply_adds("A", width=1 / 16, crop=32, hidden=32, num_classes=10),
    )
    work = workload.training(smoke)
    assert (size.train, size.minival, smoke.epochs) == (220, 20, 2)
    assert work.multiply_adds == pytest.approx(2 * (220 * step + 40 * 2 * forward))
    assert work.crops == 2 * (220 + 40)


def test_counts_of_images_are_those_that_are_loaded(tmp_path):
    smoke = at_budget("A-S256", "smoke")
    size = budgets.data_size(smoke)
    photos = data.load("synthetic", cache_dir=tmp_path, counts=smoke.counts)
    for split in data.images.SPLITS:
        images = getattr(photos, split)
        assert getattr(size, split) == len(images)
        assert size.classes == len(images.classes)
    assert size.typical == (SHORT_SIDE, SHORT_SIDE * (1 + LONGEST_ASPECT) / 2)
    # Training images of each class, as published.
    published = {
        "cifar10": [5000] * 10,
        "imagenette": [963, 955, 993, 858, 941, 956, 961, 931, 951, 960],
    }
    for name, counts in published.items():
        targets = np.repeat(np.arange(10), counts)
        digests = np.random.default_rng(0).integers(0, 256, (len(targets), 32), dtype=np.uint8)
        held_out = data.images.hold_out(targets, digests, range(10)).sum()
        size = budgets.PUBLISHED[name]
        assert (size.train, size.minival) == (len(targets) - held_out, held_out)
    imagenet = budgets.PUBLISHED["imagenet"]
    assert imagenet.minival == imagenet.classes * data.images.IMAGENET_MINIVAL_PER_CLASS


def test_every_part_of_an_evaluation_or_a_fusion_is_planned_once():
    for name in RUNS:
        parts = workload.parts_of(name)
        needed = [part for evaluation in evaluations_of(name) for part in evaluation.parts]
        for fusion in FUSIONS.values():
            for evaluation in fusion.evaluations if name in fusion.runs else ():
                needed += evaluation_in(evaluation, name).parts
        assert set(parts) == set(needed) and len(parts) == len(set(parts))


@pytest.mark.parametrize("seeds", [1, 3])
def test_runs_are_trained_as_often_as_the_runner_trains_them(seeds):
    tasks = with_needs(runner.asked([*RUNS, *FUSIONS], range(seeds)))
    assert workload.trainings(seeds) == Counter(name for name, _ in tasks if name in RUNS)


# --- memory -------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("config", ["A-LRN", "C", "E"])
def test_memory_is_what_a_training_step_keeps(config, precision):
    size, batch = {"num_classes": 10, "width": 0.25, "crop": 64, "hidden": 32}, 2
    model = VGG(config, **size).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept, alive = {}, []

    def keep(tensor):
        alive.append(tensor)
        if tensor.untyped_storage().data_ptr() not in own:
            is_weight = tensor.ndim and tensor.shape[0] != batch
            kept[tensor.untyped_storage().data_ptr()] = is_weight, tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        images = torch.randn(batch, 3, 64, 64).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = model(images)
        loss = nn.functional.cross_entropy(logits.float(), torch.zeros(batch, dtype=torch.long))
    loss.backward()
    optimizer.step()
    weights = sum(
        t.nbytes for p in model.parameters() for t in (p, p.grad, *optimizer.state[p].values())
    )
    expected = planner.memory(cost.layers(config, **size), precision)
    if precision == "bf16":  # of the weights' copies autograd keeps all but the biases'
        weights += sum(p.numel() for p in model.parameters()) * 2
        copies = sum(n for is_weight, n in kept.values() if is_weight)
        assert copies == pytest.approx(2 * cost.parameters(config, **size), rel=0.01)
    assert expected.weights == weights
    per_image = sum(n for is_weight, n in kept.values() if not is_weight) / batch
    # The CPU's dropout mask and the targets are wider than on a device.
    assert expected.kept == pytest.approx(per_image, rel=0.01)
    assert expected.peak >= expected.kept


@given(config=configs, size=small, gib=st.floats(0.001, 100), bf16=st.booleans())
def test_the_largest_batch_just_fits(config, size, gib, bf16):
    needed = planner.memory(cost.layers(config, **size), "bf16" if bf16 else "float32")
    batch, room = needed.largest_batch(gib), planner.USABLE * gib * 2**30
    assert needed.weights + (batch + 1) * needed.peak > room
    assert batch == 0 or needed.weights + batch * needed.peak <= room


@given(
    config=configs,
    size=small,
    wider=st.floats(1, 2),
    larger=st.integers(0, 64),
    epochs=st.integers(1, 100),
)
@settings(max_examples=25)
def test_more_is_never_less(config, size, wider, larger, epochs):
    more = {**size, "width": size["width"] * wider, "crop": size["crop"] + larger}
    nets = [cost.layers(config, **one) for one in (size, more)]
    less, greater = map(workload.training_step, nets)
    assert less.multiply_adds <= greater.multiply_adds and less.values <= greater.values
    small, large = (planner.memory(net, "float32") for net in nets)
    assert small.weights <= large.weights and small.kept <= large.kept and small.peak <= large.peak
    half = planner.memory(nets[0], "bf16")
    assert half.kept < small.kept and half.largest_batch(8) >= small.largest_batch(8)
    run = at_budget("A-S256", "smoke")
    shorter, longer = (workload.training(replace(run, epochs=n)) for n in (epochs, epochs + 1))
    assert shorter.multiply_adds < longer.multiply_adds


# --- hours --------------------------------------------------------------------------------


def test_seconds_on_a_device_are_work_over_peak_or_over_bandwidth():
    h100 = DEVICES["h100"]
    computing, moving = Work(multiply_adds=1e15), Work(values=1e12)
    assert planner.on_device(h100, share=1.0).seconds(computing) == pytest.approx(2e15 / 989.5e12)
    half = planner.on_device(h100, share=0.5)
    assert half.seconds(computing) == pytest.approx(4e15 / 989.5e12)
    assert half.seconds(moving) == pytest.approx(2e12 / 3350e9)
    one, eight = (planner.on_device(h100, devices).seconds(moving) for devices in (1, 8))
    assert eight * 8 == pytest.approx(one)
    for share in (0.0, -0.1, 1.01, float("nan")):
        with pytest.raises(UserError, match="share must be above 0 and at most 1"):
            planner.on_device(h100, share=share)


def test_a_card_without_bfloat16_is_planned_in_float32():
    for device in DEVICES.values():
        assert device.precision == ("bf16" if device.bf16_tflops else "float32")
        assert device.flops >= 1e12 * device.float32_tflops


def test_the_paper_s_own_time_comes_out():
    # By hand: 370K iterations of 256 images; a step of D is three times 15.470 GMAC, less conv1_1.
    per_image = 3 * 15.470e9 - 224**2 * 27 * 64
    by_hand = 2 * per_image * 370_000 * 256 / (4 * 5.1e12)
    shares = planner.paper_shares("D")
    assert shares == pytest.approx({w: by_hand / (w * 604_800) for w in (2, 3)}, rel=0.005)
    assert shares == pytest.approx({2: 0.36, 3: 0.24}, abs=0.01)
    for config in "ABCDE":
        assert 0 < planner.paper_shares(config)[3] < planner.paper_shares(config)[2] < 1


@pytest.mark.parametrize("budget", ["smoke", "reduced", "gpu", "full"])
def test_a_plan_has_every_run_and_a_total(vggrepro, budget):
    name = None if budget != "gpu" else "imagenette"
    frame = planner.plan(budget, name, planner.on_device(DEVICES["a100-40"], 2))
    assert list(frame.index) == [*RUNS, "total"]
    for run, line in frame[:-1].iterrows():
        declared = at_budget(run, budget, name)
        assert line["times"] >= BUDGETS[budget].seeds
        images = budgets.data_size(declared).train * declared.epochs
        assert line["M images"] == images / 1e6
        assert line["train h"] > 0 and line["test h"] > 0
    options = ("--budget", budget, "--device", "a100-40", "--devices", "2")
    status, out, _ = vggrepro("plan", *options)
    assert status == 0
    (total,) = [line for line in out.splitlines() if line.startswith("total")]
    assert float(total.split()[-1].replace(",", "")) == pytest.approx(
        frame["all h"][:-1].sum(), abs=0.006
    )
    table = [line.split()[0] for line in out.splitlines() if line]
    assert set(RUNS) <= set(table)


def test_the_programme_is_planned_with_its_own_seeds(vggrepro):
    options = ["--study", "--data", "imagenette", "--device", "h100"]
    status, out, _ = vggrepro("plan", *options)
    assert status == 0
    times = {line.split()[0]: line.split() for line in out.splitlines()}
    trained = {n: c for n, c in programme.seeds("imagenette").items() if n in RUNS}
    assert [name for name in times if name in RUNS] == list(trained)
    assert int(times["total"][1]) == sum(trained.values())


def test_a_batch_that_does_not_fit_is_shown(vggrepro):
    four = vggrepro("plan", "--device", "titan-black", "--devices", "4")[1]
    (line,) = [line for line in four.splitlines() if line.startswith("E-S256 ")]
    assert " < 64 " in line
    assert " < " not in vggrepro("plan", "--device", "h100")[1]


# --- this machine -------------------------------------------------------------------------

COSTS = Work(multiply_adds=2e-11, values=3e-10, lrn_values=4e-9, crops=5e-5)


def planted(work):
    """Seconds on a machine of which everything is known."""
    return (
        work.multiply_adds * COSTS.multiply_adds
        + work.values * COSTS.values
        + work.lrn_values * COSTS.lrn_values
        + work.crops * COSTS.crops
    )


def write_training(folder, run, data_name, seed=0, slower=1.0, **provenance):
    experiment = at_budget(run, "reduced", data_name)
    seconds = slower * planted(workload.training(experiment))
    made = PROVENANCE.model_copy(update={"wall_seconds": seconds, **provenance})
    record = train_record(experiment, seed, provenance=made)
    store.write(record, train_path(folder, experiment, seed))


@pytest.fixture
def machine(tmp_path):
    """Records of a machine that takes exactly as long as `planted` says."""
    for data_name in ("cifar10", "imagenette"):
        for run in ("A-S256", "A-LRN-S256", "D-S256", "B-5x5-he"):
            write_training(tmp_path, run, data_name)
    return tmp_path


def test_expected_times_come_from_other_runs_and_are_right(machine):
    checked = planner.check(planner.recorded(machine))
    assert len(checked) == 8
    np.testing.assert_allclose(checked["expected s"], checked["recorded s"], rtol=1e-4)
    assert "8 of 8 within 25 %" in "\n".join(planner.check_lines(machine))


def test_a_run_that_took_longer_is_seen(machine):
    for seed in (0, 1):  # neither seed may tell what to expect of the other
        write_training(machine, "E-S256", "imagenette", seed, slower=2.0)
    checked = planner.check(planner.recorded(machine))
    slow = checked[checked["run"] == "imagenette/E-S256"]
    assert list(slow["off, %"]) == pytest.approx([-50, -50], rel=1e-4)
    lines = "\n".join(planner.check_lines(machine)).splitlines()
    assert [line.split()[-1] for line in lines if "E-S256" in line] == ["-50.0", "-50.0"]
    assert not lines[-1].startswith("10 of 10")


def test_lrn_cannot_be_expected_from_runs_without_it(tmp_path):
    write_training(tmp_path, "A-S256", "cifar10")
    write_training(tmp_path, "A-LRN-S256", "cifar10")
    checked = planner.check(planner.recorded(tmp_path)).set_index("run")
    unknown = checked["expected s"].isna()
    assert unknown["cifar10/A-LRN-S256"] and not unknown["cifar10/A-S256"]
    assert "nothing like it" in "\n".join(planner.check_lines(tmp_path))


def test_a_plan_without_lrn_records_says_so(tmp_path, vggrepro):
    write_training(tmp_path, "A-S256", "cifar10")
    options = ("--device", "this-machine", "--results-dir", tmp_path, "--budget", "reduced")
    assert "no training with LRN is recorded" in vggrepro("plan", *options)[1]
    write_training(tmp_path, "A-LRN-S256", "cifar10")
    assert "no training with LRN" not in vggrepro("plan", *options)[1]


def test_other_machines_drawn_images_and_failed_runs_are_left_out(machine):
    write_training(machine, "E-S256", "cifar10", slower=9.0, processor="another")
    smoke = at_budget("A-S256", "smoke")
    store.write(train_record(smoke), train_path(machine, smoke, 0))
    failed = at_budget("E-normal-variance", "reduced", "cifar10")
    record = train_record(failed, status="diverged", reason="the loss was no longer finite")
    store.write(record, train_path(machine, failed, 0))
    trained = planner.recorded(machine)
    assert len(trained) == 8
    assert trained.machine.str.contains("a processor").all()


def test_a_plan_for_this_machine(machine, vggrepro):
    options = ("--device", "this-machine", "--results-dir", machine)
    status, out, _ = vggrepro("plan", "--budget", "reduced", *options)
    assert status == 0
    assert "rate fitted on 8 trainings" in out and "extrapolation" not in out
    (line,) = [line for line in out.splitlines() if line.startswith("D-S256 ")]
    experiment = at_budget("D-S256", "reduced", "cifar10")
    for cell, work in ((-3, workload.training(experiment)), (-2, workload.evaluation(experiment))):
        assert float(line.split()[cell]) == pytest.approx(planted(work) / 3600, abs=0.0006)
    assert (
        "extrapolation" in vggrepro("plan", "--budget", "gpu", "--data", "imagenette", *options)[1]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "tpu"], "unknown device 'tpu'; choose one of: titan-black"),
        (["--device", "h100", "--share", "0"], "share must be above 0"),
        (["--device", "h100", "--budget", "huge"], "unknown budget 'huge'"),
        (["--device", "h100", "--budget", "gpu", "--data", "folder"], "size of 'folder'"),
        (["--device", "this-machine", "--share", "0.5"], "recorded rate"),
        (["--device", "this-machine", "--devices", "2"], "recorded rate"),
    ],
)
def test_bad_input_is_one_message(vggrepro, arguments, message):
    status, _, err = vggrepro("plan", *arguments)
    assert status == 1 and message in err and "Traceback" not in err


def test_without_records_the_machine_is_not_known(vggrepro, tmp_path):
    for options in (("--check",), ("--device", "this-machine")):
        status, _, err = vggrepro("plan", *options, "--results-dir", tmp_path)
        assert status == 1 and "no trainings on photos are recorded" in err


def test_without_a_device_the_devices_are_listed(vggrepro):
    out = vggrepro("plan")[1]
    assert all(name in out and device.source in out for name, device in DEVICES.items())
