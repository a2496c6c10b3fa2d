"""Real runs at `smoke`: what they left, and accidents in the middle of them."""

from contextlib import contextmanager

from torch.optim.optimizer import register_optimizer_step_post_hook

from vggrepro.study import store
from vggrepro.study.budgets import at_budget

EXPERIMENTS = {name: at_budget(name, "smoke") for name in ("A-S256", "C-S256")}


def folder(where, name):
    return store.folder_of(where, EXPERIMENTS[name], 0)


def digests(where, name):
    """Of all records of a run, by file name."""
    return {
        path.name: store.read(path).result_digest
        for path in sorted(folder(where, name).glob("*.json"))
    }


def snapshot(where):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in where.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@contextmanager
def after_step(step, action):
    """Call `action` after that many steps of gradient descent."""
    left = [step]

    def hook(*_):
        left[0] -= 1
        if left[0] == 0:
            action()

    handle = register_optimizer_step_post_hook(hook)
    try:
        yield
    finally:
        handle.remove()


class PowerCutError(BaseException):
    """Nothing in the library catches it: what is on disk stays as it is."""


def power_cut():
    raise PowerCutError
