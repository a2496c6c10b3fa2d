"""Weights and states on disk: what comes back, and what damaged or foreign files do."""

import errno
import hashlib
import io
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from vggrepro import UserError
from vggrepro.checkpoints import DamagedError, read, resume, save, save_weights, weights_digest


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 4))


def after_steps(seed=0):
    """A net, its optimizer and its schedule after two steps."""
    model = net(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(2, 3, 3, 3)).square().sum().backward()
        optimizer.step()
        scheduler.step()
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler}


def step(parts):
    parts["optimizer"].zero_grad()
    parts["model"](torch.ones(2, 3, 3, 3)).square().sum().backward()
    parts["optimizer"].step()
    parts["scheduler"].step()
    return weights_digest(parts["model"].state_dict()), parts["optimizer"].param_groups[0]["lr"]


# --- weights ----------------------------------------------------------------------------------


def test_weights_come_back_as_they_were(tmp_path):
    model = net().to(memory_format=torch.channels_last)
    save_weights(model, tmp_path / "deep" / "weights.pt")
    state = read(tmp_path / "deep" / "weights.pt")
    assert state.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name], tensor)
        assert state[name].is_contiguous()  # the default format, whatever trained them
    assert weights_digest(state) == weights_digest(model.state_dict())


def test_the_same_weights_have_the_same_digest():
    plain, channels_last = net(), net().to(memory_format=torch.channels_last)
    assert channels_last[0].weight.stride() != plain[0].weight.stride()
    state = plain.state_dict()
    digest = weights_digest(state)
    assert weights_digest(channels_last.state_dict()) == digest
    assert weights_digest(dict(reversed(state.items()))) == digest
    assert weights_digest({k: nn.Parameter(t) for k, t in state.items()}) == digest
    by_hand = hashlib.sha256()
    for name in ("0.bias", "0.weight", "2.bias", "2.weight"):
        numbers = state[name].flatten().tolist()
        by_hand.update(name.encode() + torch.tensor(numbers).numpy().astype("<f4").tobytes())
    assert digest == by_hand.hexdigest()


def test_other_weights_have_another_digest():
    state = net().state_dict()
    digest = weights_digest(state)
    changed = {name: tensor.clone() for name, tensor in state.items()}
    changed["2.weight"][3, 7] = torch.nextafter(changed["2.weight"][3, 7], torch.tensor(9.0))
    assert weights_digest(changed) != digest
    assert weights_digest({f"x{name}": tensor for name, tensor in state.items()}) != digest
    square = {"w": torch.arange(9.0).view(3, 3)}
    assert weights_digest({"w": square["w"].T}) != weights_digest(square)


# --- an unfinished training -------------------------------------------------------------------


def test_a_training_goes_on_as_if_nothing_had_happened(tmp_path):
    parts = after_steps()
    done = {"curve": [{"epoch": 0, "lrn": (1.0, 2.0)}], "seconds": 0.1 + 0.2, "images": 40}
    save(tmp_path / "c.pt", "here", parts, done)
    others = after_steps(seed=1)
    assert resume(tmp_path / "c.pt", "here", others) == done
    for _ in range(3):
        assert step(others) == step(parts)


def test_schedules_on_a_plateau_come_back(tmp_path):
    def scheduler():
        optimizer = torch.optim.SGD(net().parameters(), lr=0.1)
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)

    one, other = scheduler(), scheduler()
    save(tmp_path / "fresh.pt", "here", {"scheduler": one}, {})  # its best is infinity
    one.step(3.0)
    one.step(4.0)
    save(tmp_path / "c.pt", "here", {"scheduler": one}, {})
    resume(tmp_path / "fresh.pt", "here", {"scheduler": other})
    resume(tmp_path / "c.pt", "here", {"scheduler": other})
    assert other.state_dict() == one.state_dict()
    assert (other.best, other.num_bad_epochs) == (3.0, 1)


def test_another_address_changes_nothing(tmp_path):
    save(tmp_path / "c.pt", "here", after_steps(), {})
    others = after_steps(seed=1)
    before = weights_digest(others["model"].state_dict())
    with pytest.raises(UserError, match=r"c\.pt was left by another training.*--fresh"):
        resume(tmp_path / "c.pt", "there", others)
    assert weights_digest(others["model"].state_dict()) == before


def test_weights_are_not_an_unfinished_training(tmp_path):
    save_weights(net(), tmp_path / "w.pt")
    with pytest.raises(DamagedError, match=r"w\.pt is not a readable checkpoint"):
        resume(tmp_path / "w.pt", "here", after_steps())


# --- damaged files ----------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path, kept):
    path = tmp_path / "c.pt"
    save(path, "here", after_steps(), {})
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    save_weights(net(), tmp_path / "w.pt")
    weights = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(weights[: int(kept * len(weights))])
    for load in (lambda: read(tmp_path / "w.pt"), lambda: resume(path, "here", after_steps())):
        with pytest.raises(UserError, match=r"[cw]\.pt is not a readable checkpoint.*delete it"):
            load()


@pytest.mark.parametrize("content", [b"not a checkpoint", b"PK\x03\x04" + bytes(100)])
def test_another_kind_of_file_is_named(tmp_path, content):
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"c\.pt is not a readable checkpoint"):
        read(tmp_path / "c.pt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint at .*c\.pt"):
        read(tmp_path / "c.pt")


def state(parts):
    optimizer = parts["optimizer"].state_dict()["state"]
    return [
        weights_digest(parts["model"].state_dict()),
        [weights_digest({"": s["momentum_buffer"]}) for s in optimizer.values()],
        parts["scheduler"].state_dict(),
    ]


def test_a_flipped_bit_is_seen_wherever_it_is(tmp_path):
    path, others = tmp_path / "c.pt", after_steps(seed=1)
    save(path, "here", after_steps(), {"seconds": 1.5})
    before, whole = state(others), path.read_bytes()
    for place in [*range(40), *range(40, len(whole), len(whole) // 100)]:
        path.write_bytes(bytes([*whole[:place], whole[place] ^ 16, *whole[place + 1 :]]))
        with pytest.raises(DamagedError, match="digest does not fit"):
            resume(path, "here", others)
    assert state(others) == before


def sealed(content, path):
    """A file of any content, with the digest that fits."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())


@pytest.mark.parametrize(
    "content",
    {
        "a list": lambda: [],
        "a number": lambda: 1,
        "no parts": lambda: {"address": "here", "done": {}},
        "no done": lambda: {"address": "here", "parts": {}},
    }.values(),
)
def test_what_cannot_be_loaded_changes_nothing(tmp_path, content):
    sealed(content(), tmp_path / "c.pt")
    others = after_steps(seed=1)
    before = state(others)
    with pytest.raises(DamagedError, match=r"c\.pt is not a readable checkpoint"):
        resume(tmp_path / "c.pt", "here", others)
    assert state(others) == before


@pytest.mark.parametrize("content", [[], 1, {"a": 1}, {"a": {"b": torch.ones(1)}}, None])
def test_what_is_no_weights_is_named(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(DamagedError, match=r"w\.pt is not a readable checkpoint.*no weights"):
        read(tmp_path / "w.pt")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(path.name)])
def test_what_is_no_file_is_named(tmp_path, make):
    make(tmp_path / "c.pt")
    with pytest.raises(DamagedError, match=r"c\.pt is not a readable checkpoint"):
        read(tmp_path / "c.pt")
    with pytest.raises(UserError, match=r"c\.pt cannot be read") as caught:
        resume(tmp_path / "c.pt", "here", after_steps())
    assert caught.type is UserError  # what is damaged would be set aside


class Code:
    """What unpickling would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_not_run(tmp_path):
    ran = tmp_path / "ran"
    content = {"address": "here", "parts": {}, "done": Code(ran)}
    sealed(content, tmp_path / "c.pt")
    with pytest.raises(UserError, match=r"c\.pt is not a readable checkpoint"):
        resume(tmp_path / "c.pt", "here", {})
    assert not ran.exists()
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(DamagedError):
        read(tmp_path / "w.pt")
    assert not ran.exists()
    torch.load(tmp_path / "w.pt", weights_only=False)
    assert ran.exists()  # it would have run


# --- writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [(os, "fsync"), (Path, "replace")])
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch, fails):
    path = tmp_path / "c.pt"
    parts = after_steps()
    save(path, "here", parts, {"images": 1})
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*fails, full)
    with pytest.raises(UserError, match=r"c\.pt: No space left on device.*free some space"):
        save(path, "here", parts, {"images": 2})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["c.pt"]
    monkeypatch.undo()
    assert resume(path, "here", parts) == {"images": 1}


def test_the_old_file_is_there_until_the_new_one_is_complete(tmp_path, monkeypatch):
    path = tmp_path / "c.pt"
    save(path, "here", after_steps(), {"images": 1})
    seen = []
    real = os.fsync

    def fsync(file):
        seen.append(resume(path, "here", after_steps()))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    save(path, "here", after_steps(), {"images": 2})
    assert seen == [{"images": 1}]
    assert resume(path, "here", after_steps()) == {"images": 2}
    assert os.listdir(tmp_path) == ["c.pt"]
