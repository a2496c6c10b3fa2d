"""What the tests share: hypothesis without a clock, and one small study, trained once."""

import os
import shutil
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The reader's terminal decides nothing, here and in what the tests start.
os.environ |= {"COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
# Examples are not timed: a busy machine is no failure. CI always draws the same ones, so that it
# says something about the change and not about its luck; elsewhere they are new every time.
settings.register_profile(
    "vggrepro",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("vggrepro")


# A kernel's ports, and those where ranks or a browser are met, are free when they are chosen, and
# others must not open them before they are used.
OPEN_PORTS = ("test_book", "test_distributed", "test_render", "test_torture")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Processes of pytest share the files; one has all that open ports, as notebooks do."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = Path(super()._split_scope(nodeid))
            return "ports" if file.suffix == ".ipynb" or file.stem in OPEN_PORTS else str(file)

    return ByFile(config, log)


@pytest.fixture(autouse=True)
def plain_figures():
    """No figure and no style of one test is left for the next."""
    yield
    if plt := sys.modules.get("matplotlib.pyplot"):
        plt.close("all")
        plt.rcdefaults()


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """Where runs at `smoke` read and write: one thread, float32, one cache for all tests."""
    from vggrepro.study.store import Where

    folder = tmp_path_factory.mktemp("smoke")
    return Where(
        folder / "results", cache_dir=folder / "cache", device="cpu", precision="float32", threads=1
    )


@pytest.fixture(scope="session")
def study(smoke):
    """Results of C-S256, which starts from A-S256, seed 0. Only to be read: see `copied`."""
    from vggrepro.study import runner

    runner.run(["C-S256"], "smoke", None, [0], smoke)
    return smoke.results_dir


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder of the test's own, where the user's would be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def pilots(monkeypatch):
    """Records of the study's budget that are written now are from before the recipe was frozen."""
    from vggrepro.study.budgets import BUDGETS

    for data in ("cifar10", "imagenette"):
        monkeypatch.setitem(BUDGETS["reduced"].data[data], "recipe", "pilot-9")


@pytest.fixture
def copied(study, tmp_path):
    """A copy of the study, weights included, to be damaged."""
    return shutil.copytree(study, tmp_path / "results", copy_function=shutil.copy2)


@pytest.fixture
def vggrepro(monkeypatch, capsys):
    """The command line in this process: `vggrepro("run", "A-S256")` is (exit status, out, err)."""
    from vggrepro import cli, process

    def raised(error):  # what nobody foresaw is seen by a test
        raise error

    monkeypatch.setattr(process, "_unexpected", raised)
    monkeypatch.setattr("warnings.showwarning", warnings.showwarning)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["vggrepro", *map(os.fspath, arguments)])
        capsys.readouterr()
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call
