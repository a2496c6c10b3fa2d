"""The training loop: each step against the update by hand, each run against an undisturbed one."""

import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.image_sets import CPU, Sets, coloured_set, image_set, statistics_of
from vggrepro import UserError, checkpoints, trainer
from vggrepro.augmentations import Draws, colour_shifts
from vggrepro.checkpoints import weights_digest
from vggrepro.models import LRN, initialise
from vggrepro.study.experiments import Experiment
from vggrepro.study.run import build
from vggrepro.trainer import batches, fit, rescaled, sgd, train, train_one_epoch
from vggrepro.windows import centre_window, cut

TINY = Experiment(
    "tiny",
    "A",
    crop=32,
    width=1 / 16,
    hidden=32,
    epochs=4,
    batch_size=16,
    learning_rate=0.01,
    schedule="steps",
    input_divisor=60.0,
)


@pytest.fixture(scope="module")
def sets():
    train_images = coloured_set(40)
    pixels = np.concatenate([image.reshape(-1, 3) for image in train_images.images])
    return Sets(train_images, coloured_set(12, split="minival", seed=1), statistics_of(pixels))


def net(experiment=TINY, seed=0):
    model = build(experiment, 4)
    initialise(model, "he", seed=seed)
    return model


def run(sets, path, experiment=TINY, *, seed=0, progress=False):
    model = net(experiment, seed)
    given = {"device": CPU, "checkpoint": path, "progress": progress}
    return train(model, sets, experiment, seed, **given), model


def an_epoch(model, optimizer, sets, experiment, seed, epoch, device=CPU, *told):
    """One pass over the images, with the net told their mean."""
    model.set_pixel_mean(sets.pixels.mean)
    cut = rescaled(sets, experiment, model)
    return train_one_epoch(model, optimizer, cut, experiment, seed, epoch, device, *told)


# --- one step ---------------------------------------------------------------------------------


def test_two_steps_are_the_update_by_hand(sets):
    experiment = replace(TINY, batch_size=30, dropout=0.0, weight_decay=0.03, momentum=0.7)
    model, by_hand = net(experiment), net(experiment)
    loss, error = an_epoch(model, sgd(model, experiment), sets, experiment, 5, 0)
    # Krizhevsky's rule, which Section 3.1 follows: v <- m v - wd lr w - lr g, then w <- w + v.
    weights = dict(by_hand.named_parameters())
    velocity = {name: torch.zeros_like(w) for name, w in weights.items()}
    losses, wrong = [], 0
    cut = rescaled(sets, experiment, model)
    for images, shifts, targets, _ in batches(cut, experiment, 5, 0):
        mean = torch.tensor(sets.pixels.mean, dtype=torch.float32)
        x = (images.float() - mean[None, :, None, None] + shifts[:, :, None, None]) / 60
        logits = by_hand(x)
        picked = logits.log_softmax(1)[torch.arange(len(targets)), targets]
        gradients = torch.autograd.grad(-picked.mean(), list(weights.values()))
        losses += (-picked).tolist()
        wrong += (logits.argmax(1) != targets).sum().item()
        with torch.no_grad():
            for (name, w), g in zip(weights.items(), gradients, strict=True):
                v = velocity[name]
                v.copy_(0.7 * v - 0.03 * 0.01 * w - 0.01 * g)
                w += v
    for name, w in model.named_parameters():
        torch.testing.assert_close(w, weights[name], rtol=1e-4, atol=1e-6)
    assert not torch.equal(weights["features.0.weight"], net().features[0].weight)
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)  # a mean over images, not batches
    assert error == 100 * wrong / 40


def test_train_hands_the_recipe_to_the_optimizer(sets, tmp_path):
    # One batch, one step: the two differ by the decay alone, learning rate x decay x weight.
    experiment = replace(TINY, epochs=1, batch_size=40, weight_decay=0.5, dropout=0.0)
    with_decay, model = run(sets, tmp_path / "a", experiment)
    without, plain = run(sets, tmp_path / "b", replace(experiment, weight_decay=0.0))
    assert with_decay.curve[0].running_loss == without.curve[0].running_loss
    start = dict(net().named_parameters())
    for (name, w), p in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(w, p - 0.01 * 0.5 * start[name], rtol=1e-4, atol=1e-6)


def test_dropout_is_on_while_training_and_seeded_by_seed_and_epoch(sets):
    def loss_of(seed, epoch, dropout):
        experiment = replace(TINY, dropout=dropout, colour_shift=0.0, batch_size=40)
        model = build(experiment, 4)
        initialise(model, "he", seed=0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        torch.rand(3)  # whoever drew before makes no difference
        return an_epoch(model, optimizer, sets, experiment, seed, epoch)[0]

    assert loss_of(0, 1, 0.5) == loss_of(0, 1, 0.5)
    assert len({loss_of(0, 0, 0.5), loss_of(0, 1, 0.5), loss_of(1, 0, 0.5)}) == 3
    assert abs(loss_of(0, 1, 0.5) - loss_of(0, 1, 0.0)) > 1e-3


# --- the batches of an epoch ------------------------------------------------------------------


def numbered(sets, experiment=TINY):
    """The training images with as many classes as images: a target is an image's name."""
    images = replace(sets.train, targets=np.arange(40))
    return rescaled(replace(sets, train=images), experiment, net(experiment))


@pytest.mark.parametrize(
    ("batch_size", "lengths"), [(16, [16, 16, 8]), (40, [40]), (99, [40]), (39, [39, 1])]
)
def test_every_image_once_in_an_epoch(sets, batch_size, lengths):
    experiment = replace(TINY, batch_size=batch_size)
    found = list(batches(numbered(sets, experiment), experiment, 0, 3))
    assert [len(batch.targets) for batch in found] == [batch.size for batch in found] == lengths
    assert sorted(torch.cat([batch.targets for batch in found]).tolist()) == list(range(40))
    for images, shifts, targets, _ in found:
        assert images.shape == (len(targets), 3, 32, 32)
        assert shifts.shape == (len(targets), 3)


def test_an_images_crop_and_colour_stay_with_its_target(sets):
    def by_image(batch_size):
        experiment = replace(TINY, batch_size=batch_size)
        return {
            int(target): (image.numpy().tobytes(), shift.numpy().tobytes())
            for images, shifts, targets, _ in batches(numbered(sets, experiment), experiment, 7, 2)
            for image, shift, target in zip(images, shifts, targets, strict=True)
        }

    found = by_image(16)
    assert len({crop for crop, _ in found.values()}) == 40
    assert by_image(7) == found


def test_order_depends_on_seed_and_epoch_alone(sets):
    cut = numbered(sets)

    def order(seed, epoch):
        return torch.cat([batch.targets for batch in batches(cut, TINY, seed, epoch)]).tolist()

    assert order(0, 0) == order(0, 0)
    different = [order(0, 0), order(0, 1), order(1, 0), order(1, 1), list(range(40))]
    assert len({tuple(o) for o in different}) == 5


def test_every_epoch_of_every_seed_has_crops_and_colours_of_its_own(sets):
    experiment = replace(TINY, colour_shift=0.3)
    cut = numbered(sets, experiment)
    every, seen = np.arange(40), set()
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        draws = Draws.of(seed, epoch, 40)
        crops = cut.batch(every, draws)
        colours = colour_shifts(draws, every, sets.pixels, std=0.3)
        for images, shifts, targets, _ in batches(cut, experiment, seed, epoch):
            assert torch.equal(images, crops[targets])
            assert torch.equal(shifts, colours[targets])
        seen.add((crops.numpy().tobytes(), colours.numpy().tobytes()))
        assert colours.abs().max() > 1  # a level of grey
    assert len({crop for crop, _ in seen}) == len({colour for _, colour in seen}) == 3


def test_scales_are_the_papers_for_our_crop():
    # S = 384 is 55 px for a crop of 32: the images are 55 px squares, cut at no other scale.
    sets = Sets(image_set(3, sizes=((55, 55),)), image_set(3), statistics_of(np.eye(3) * 9))
    experiment = replace(TINY, train_scale=(384, 384))
    images, *_ = next(iter(batches(rescaled(sets, experiment, net()), experiment, 0, 0)))
    for crop in images.numpy():
        # Unscaled pixels: one of the images holds the crop's first row, or its mirror image.
        row = crop[:, 0].T
        assert any(
            (image[top, left : left + 32] == view).all()
            for image in sets.train.images
            for view in (row, row[::-1])
            for top in range(24)
            for left in range(24)
        )


def test_fit_images_are_spread_over_the_training_set(sets):
    chosen = fit(sets)
    assert len(chosen) == len(sets.minival) == len(chosen.images) == len(chosen.sizes)
    assert chosen.split == "train"
    places = [
        next(i for i, image in enumerate(sets.train.images) if image is one)
        for one in chosen.images
    ]
    assert places[0] == 0 and places[-1] == 39
    assert set(np.diff(places)) <= {3, 4}
    np.testing.assert_array_equal(chosen.targets, sets.train.targets[places])
    np.testing.assert_array_equal(chosen.sizes, sets.train.sizes[places])
    small = replace(sets, train=coloured_set(5))
    assert len(fit(small)) == 5


# --- a training -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(sets, tmp_path_factory):
    training, model = run(sets, tmp_path_factory.mktemp("undisturbed") / "checkpoint.pt")
    return training, weights_digest(model.state_dict())


def test_training_learns_and_reports(sets, tmp_path):
    experiment = replace(TINY, epochs=10, dropout=0.0)
    told = {"train": 0, "eval": 0}

    def progress(stage, images):
        told[stage] += images

    training, model = run(sets, tmp_path / "checkpoint.pt", experiment, progress=progress)
    first, last = training.curve[0], training.curve[-1]
    assert (training.status, training.reason) == ("ok", None)
    assert [entry.epoch for entry in training.curve] == list(range(10))
    assert first.running_loss > 1.2  # ln 4 = 1.39 is chance
    assert last.running_loss < 0.5 * first.running_loss
    assert last.minival_error <= 25 < 50 < first.running_error  # 75 is chance
    assert last.minival_loss < 0.7
    assert told == {"train": 400, "eval": 10 * (12 + 12)}
    assert training.images == 400 and training.seconds > 0
    assert model.features[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_the_curve_is_measured_on_the_weights_after_the_epoch(sets, undisturbed, tmp_path):
    training, _ = undisturbed
    experiment = replace(TINY, epochs=1)
    once, model = run(sets, tmp_path / "checkpoint.pt", experiment)
    assert once.curve[0] == training.curve[0]
    # Centre crop and flip at Q = 256, here 37 px: images of 40x48 and 48x40 px by hand.
    model.eval()
    losses, wrong = [], 0
    for image, target in sets.minival:
        crop = cut(image, centre_window(image.shape[:2], 37, 32)).astype(np.float32)
        x = torch.from_numpy((crop - sets.pixels.mean.astype(np.float32)) / 60)
        x = x.permute(2, 0, 1)[None]
        with torch.no_grad():
            posterior = (model(x).softmax(1) + model(x.flip(-1)).softmax(1))[0] / 2
        losses.append(-math.log(posterior[target]))
        wrong += int(posterior.argmax()) != target
    assert once.curve[0].minival_loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert once.curve[0].minival_error == pytest.approx(100 * wrong / 12)


def test_a_lrn_curve_holds_the_denominator(sets, tmp_path):
    training, _ = run(sets, tmp_path / "c.pt", replace(TINY, config="A-LRN", epochs=1))
    quantiles = training.curve[0].lrn_denominator
    assert len(quantiles) == len(trainer.QUANTILES)
    assert list(quantiles) == sorted(quantiles)
    assert quantiles[0] >= 2
    assert quantiles[-1] > quantiles[0]


class KilledError(Exception):
    pass


def stop_in(epoch, error, stage="train"):
    """A progress callback that raises at the second batch of that epoch and stage."""
    calls = {"train": 0, "eval": 0}

    def progress(now, images):
        # An epoch is 3 batches to train on, and one each of fit and minival to measure.
        calls[now] += 1
        if now == stage and calls[now] == epoch * (3 if stage == "train" else 2) + 2:
            raise error

    return progress


@pytest.mark.parametrize("schedule", ["steps", "plateau"])
@pytest.mark.parametrize(("epoch", "stage"), [(0, "train"), (2, "train"), (2, "eval")])
def test_a_killed_training_ends_in_the_same_weights(sets, tmp_path, epoch, stage, schedule):
    experiment = replace(TINY, schedule=schedule)
    straight, model = run(sets, tmp_path / "straight.pt", experiment)
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(KilledError):
        run(sets, path, experiment, progress=stop_in(epoch, KilledError, stage))
    assert path.exists() == (epoch > 0)
    torch.manual_seed(99)  # another process has another global generator
    told = []
    again, resumed = run(sets, path, experiment, progress=lambda *what: told.append(what))
    assert again.curve == straight.curve
    assert again.images == straight.images == 160
    # An epoch trains on 40 images, and is measured on 12 of them and on 12 of minival.
    assert sum(images for _, images in told) == 4 * 64
    assert [images for stage, images in told if stage == "resumed"] == [64 * epoch] * (epoch > 0)
    for (name, w), one in zip(
        resumed.state_dict().items(), model.state_dict().values(), strict=True
    ):
        assert torch.equal(w, one), name
    assert weights_digest(resumed.state_dict()) == weights_digest(model.state_dict())


def test_killed_after_every_epoch(sets, undisturbed, tmp_path):
    training, digest = undisturbed
    path = tmp_path / "checkpoint.pt"
    for epoch in range(1, TINY.epochs):
        # The last session's epochs are told at once; then one epoch more, and a bit.
        calls = []

        def progress(stage, images, calls=calls, known=epoch > 1):
            calls.append(stage)
            if calls.count("train") > 4 + known:
                raise KilledError

        with pytest.raises(KilledError):
            run(sets, path, progress=progress)
    again, model = run(sets, path)
    assert again.curve == training.curve
    assert weights_digest(model.state_dict()) == digest


def test_a_finished_training_is_not_trained_on(sets, undisturbed, tmp_path):
    training, digest = undisturbed
    path = tmp_path / "checkpoint.pt"
    run(sets, path)
    before = path.read_bytes()
    told = []
    again, model = run(sets, path, progress=lambda *what: told.append(what))
    assert told == [("resumed", 4 * 64)]
    assert again.curve == training.curve
    assert weights_digest(model.state_dict()) == digest
    assert path.read_bytes() == before


def test_another_seed_is_another_training(sets, undisturbed, tmp_path):
    other, _ = run(sets, tmp_path / "checkpoint.pt", replace(TINY, epochs=1), seed=1)
    assert other.curve[0].running_loss != undisturbed[0].curve[0].running_loss


def test_ctrl_c_keeps_the_epochs_that_are_done(sets, undisturbed, tmp_path):
    path = tmp_path / "checkpoint.pt"
    stopped, _ = run(sets, path, progress=stop_in(1, KeyboardInterrupt))
    assert stopped.status == "interrupted"
    assert stopped.reason == "stopped in epoch 2"
    assert stopped.curve == undisturbed[0].curve[:1]
    assert stopped.images == 40
    again, model = run(sets, path)
    assert again.status == "ok"
    assert again.curve == undisturbed[0].curve
    assert weights_digest(model.state_dict()) == undisturbed[1]


@pytest.mark.parametrize("damage", ["a flipped bit", "cut"])
def test_a_damaged_checkpoint_is_set_aside_and_the_training_begins_anew(
    sets, undisturbed, tmp_path, damage
):
    path = tmp_path / "checkpoint.pt"
    run(sets, path, progress=stop_in(1, KeyboardInterrupt))
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole if damage == "a flipped bit" else whole[:-1])
    (tmp_path / "checkpoint.damaged").write_text("of the user's")
    with pytest.warns(UserWarning, match=r"checkpoint.pt is damaged: kept as checkpoint.damaged1"):
        again, model = run(sets, path)
    assert again.curve == undisturbed[0].curve
    assert weights_digest(model.state_dict()) == undisturbed[1]
    assert (tmp_path / "checkpoint.damaged").read_text() == "of the user's"
    names = ["checkpoint.damaged", "checkpoint.damaged1", "checkpoint.pt"]
    assert sorted(os.listdir(tmp_path)) == names


def test_what_cannot_be_a_checkpoint_stays_where_it_is(sets, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            run(sets, tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


def test_a_checkpoint_that_cannot_be_read_now_is_not_damaged(sets, tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    run(sets, tmp_path / "c.pt", replace(TINY, epochs=1))
    before = (tmp_path / "c.pt").read_bytes()
    monkeypatch.setattr(checkpoints, "open_regular", refused)
    with pytest.raises(UserError, match=r"c\.pt cannot be read: Permission denied"):
        run(sets, tmp_path / "c.pt")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"c.pt": before}


def test_frozen_layers_stay_and_a_checkpoint_knows_them(sets, tmp_path):
    def half_frozen():
        model = net()
        model.features.requires_grad_(False)
        return model

    once = replace(TINY, epochs=1)
    run(sets, tmp_path / "c.pt", once)
    given = {"device": CPU, "progress": False}
    with pytest.raises(UserError, match="was left by another training"):
        train(half_frozen(), sets, once, checkpoint=tmp_path / "c.pt", **given)
    model, before = half_frozen(), net()
    train(model, sets, once, **given)
    assert torch.equal(model.features[0].weight, before.features[0].weight)
    assert not torch.equal(model.classifier[0].weight, before.classifier[0].weight)
    with pytest.raises(UserError, match="every weight is frozen"):
        train(model.requires_grad_(False), sets, once, **given)


def test_the_callers_torch_is_as_it_was(sets):
    """Neither its random numbers nor whether it keeps gradients count, or change."""
    once, given = replace(TINY, epochs=1), {"device": CPU, "progress": False}
    plain, within = net(), net()
    train(plain, sets, once, **given)
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with torch.inference_mode():
        train(within, sets, once, np.int64(0), **given)
    assert torch.equal(torch.rand(2), expected)
    assert weights_digest(within.state_dict()) == weights_digest(plain.state_dict())


@pytest.mark.parametrize(
    ("change", "seed", "message"),
    [
        ({"train_scale": (100, 100)}, 0, "S = 14 px is smaller"),
        ({}, -1, "a seed is a whole number from 0"),
        ({}, 2**63, "a seed is a whole number from 0"),
        ({}, "0", "a seed is a whole number from 0"),
    ],
)
def test_what_cannot_be_trained_leaves_the_net_as_it_was(sets, change, seed, message):
    model = net()
    model.set_inputs("torchvision")
    before = model.inputs
    with pytest.raises(UserError, match=message):
        train(model, sets, replace(TINY, **change), seed, device=CPU, progress=False)
    assert model.inputs == before


@pytest.mark.parametrize("rate", [1e-1, 1e-6, 1e-9])
def test_every_rate_drops_three_times(rate):
    recipe = replace(TINY, schedule="plateau", learning_rate=rate)
    optimizer = sgd(net(), recipe)
    scheduler = trainer.schedule(optimizer, recipe)
    for _ in range(40):
        scheduler.step(50.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rate / 1000)


def test_ctrl_c_while_a_checkpoint_is_written(sets, tmp_path, monkeypatch):
    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save", interrupted)
    training, _ = run(sets, tmp_path / "c.pt")
    assert (training.status, training.reason) == ("interrupted", "stopped in epoch 1")


def test_a_checkpoint_of_another_training_is_refused(sets, tmp_path):
    path, once = tmp_path / "checkpoint.pt", replace(TINY, epochs=1)
    run(sets, path, once)
    for other, seed in (
        (replace(once, momentum=0.8), 0),
        (replace(once, dropout=0.4), 0),
        (once, 1),
    ):
        with pytest.raises(UserError, match="was left by another training"):
            run(sets, path, other, seed=seed)
    photos = replace(sets, train=replace(sets.train, fingerprint="of others"))
    with pytest.raises(UserError, match="was left by another training"):
        run(photos, path, once)
    run(sets, path, once)


def test_whatever_can_change_a_result_is_in_a_checkpoints_address(sets, monkeypatch):
    def of_others(inputs):
        model = net()
        model.set_inputs(inputs)
        return model

    def address(model=None, photos=sets, recipe=TINY, seed=0, device=CPU):
        return trainer.address_of(model or net(), photos, recipe, seed, device)

    other = replace(sets.train, fingerprint="other photos")
    found = [
        address(),
        address(seed=1),
        address(photos=replace(sets, train=other)),
        address(photos=replace(sets, minival=other)),
        address(recipe=replace(TINY, momentum=0.8)),
        address(device=replace(CPU, precision="bf16")),
        address(net(seed=1)),  # another start, or a parent's weights
        address(net(replace(TINY, config="C"))),
        address(net(replace(TINY, dropout=0.3))),
        address(net(replace(TINY, input_divisor=30.0))),
        address(net(replace(TINY, crop=33))),
        *(address(of_others(inputs)) for inputs in ("caffe", "torchvision")),
    ]
    assert address() == found[0]
    for module, name, value in (
        (trainer.distributed, "world", 2),
        (torch, "get_num_threads", 99),
        (trainer, "instructions", "others"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda value=value: value)
            found.append(address())
    monkeypatch.setattr(torch, "__version__", "another")
    found.append(address())
    assert len(set(found)) == 17


@pytest.mark.parametrize("batch_size", [16, 40])
def test_a_diverged_training_says_so(sets, tmp_path, batch_size):
    # With one batch to an epoch the loss is still finite, and only the weights are not.
    path = tmp_path / "checkpoint.pt"
    experiment = replace(TINY, learning_rate=1e30, batch_size=batch_size)
    training, _ = run(sets, path, experiment)
    assert training.status == "diverged"
    assert training.reason == "the loss was no longer finite in epoch 1"
    assert training.curve == []
    assert (training.seconds > 0, training.images) == (True, len(sets.train))  # it cost them
    assert not path.exists()


# --- learning rate ----------------------------------------------------------------------------


def rates(experiment, errors):
    """The rate of each epoch when minival's errors are these."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=experiment.learning_rate)
    scheduler = trainer.schedule(optimizer, experiment)
    found = []
    for error in errors:
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([error] if experiment.schedule == "plateau" else []))
    return found


def test_the_curve_holds_the_rates_that_were_used(undisturbed):
    np.testing.assert_allclose(
        [entry.learning_rate for entry in undisturbed[0].curve], [0.01, 0.01, 0.001, 0.0001]
    )


@pytest.mark.parametrize("learning_rate", [1e-3, 1e-2, 0.02, 0.1])
def test_plateau_drops_by_ten_and_three_times_at_most(learning_rate):
    experiment = replace(TINY, schedule="plateau", learning_rate=learning_rate)
    found = rates(experiment, [50.0] * 60)
    # The first epoch is the best; after 1 + 5 epochs without a better one the rate drops.
    wanted = [learning_rate / 10 ** min(3, max(0, (i - 1) // 6)) for i in range(60)]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_plateau_waits_while_minival_improves():
    experiment = replace(TINY, schedule="plateau")
    assert set(rates(experiment, np.linspace(90, 10, 60))) == {0.01}
    # Better by any amount starts the count anew; equal does not.
    errors = [50.0] * 6 + [49.999] + [49.999] * 10
    found = rates(experiment, errors)
    assert found.index(min(found[:14])) == 13
    assert found[13] == pytest.approx(0.001)


def test_plateau_watches_minivals_error(sets, tmp_path, monkeypatch):
    # PATIENCE 0: the first epoch that is not better than the best drops the rate of the next.
    monkeypatch.setattr(trainer, "PATIENCE", 0)
    experiment = replace(TINY, schedule="plateau", epochs=8, learning_rate=1e-4)
    training, _ = run(sets, tmp_path / "checkpoint.pt", experiment)
    rate, best, wanted = 1e-4, math.inf, []
    for entry in training.curve:
        wanted.append(rate)
        if entry.minival_error < best:
            best = entry.minival_error
        else:
            rate = max(rate / 10, 1e-7)
    assert len(set(wanted)) > 1
    np.testing.assert_allclose([e.learning_rate for e in training.curve], wanted, rtol=1e-9)


def test_the_net_is_the_declared_one():
    model = build(replace(TINY, config="C", dropout=0.3), 4)
    logits = model(torch.zeros(2, 3, 32, 32))
    assert F.softmax(logits, 1).shape == (2, 4)
    assert (model.config, model.crop, model.classifier[2].p) == ("C", 32, 0.3)
    assert [model.classifier[i].out_features for i in (0, 3)] == [32, 32]
    assert model.features[0].out_channels == 4
    # Inputs divided by 60 make squares 3600 times smaller, which LRN's alpha has to undo.
    layers = build(replace(TINY, config="A-LRN"), 4).features
    (alpha,) = [layer.alpha for layer in layers if isinstance(layer, LRN)]
    assert alpha == pytest.approx(1e-4 * 60**2)
