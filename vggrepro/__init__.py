"""vggrepro: the VGG paper (Simonyan & Zisserman, 2014), rerun and decided claim by claim.

`import vggrepro as vgg` gives the library: `load`, `VGG`, `initialise`, `Recipe`, `train`,
`evaluate`, `to_dense`, and `results`, the table of the recorded study.
"""

import importlib
from collections.abc import Iterable

__version__ = "0.1.0"

#: Public names and where they live; imported when first used, so that `import vggrepro` is quick.
_LAZY = {
    "load": ("vggrepro.data", "load"),
    "VGG": ("vggrepro.models", "VGG"),
    "initialise": ("vggrepro.models", "initialise"),
    "to_dense": ("vggrepro.models", "to_dense"),
    "Recipe": ("vggrepro.recipe", "Recipe"),
    "train": ("vggrepro.trainer", "train"),
    "evaluate": ("vggrepro.evaluators", "evaluate"),
    "load_weights": ("vggrepro.weights", "load_weights"),
    "save_weights": ("vggrepro.weights", "save_weights"),
    "results": ("vggrepro.study.store", "frame"),
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]


class UserError(Exception):
    """A bad input or environment, with one message that says what is wrong and what to do.

    The command line prints the message alone and exits with status 1; a traceback would
    only hide it.
    """


def check_known(what: str, name: object, known: Iterable[str]) -> None:
    """Raise `UserError`, which names those that are known, if `name` is none of them."""
    known = list(known)
    if name not in known:
        raise UserError(f"unknown {what} {name!r}; choose one of: {', '.join(known)}")
