"""One set of versions: pyproject's ranges, constraints.txt and environment.yml agree."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata, requires
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
MACHINES = ("x86_64", "aarch64", "arm64")

# torch pins these itself, for its CUDA build.
LEFT_TO_TORCH = re.compile(r"nvidia-|cuda-|triton$")


def read(text: str) -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def pinned(name: str, machine: str) -> str:
    """The one version that constraints.txt gives for a package on a machine."""
    fitting = [
        requirement
        for requirement in CONSTRAINTS[name]
        if not requirement.marker or requirement.marker.evaluate({"platform_machine": machine})
    ]
    assert len(fitting) == 1, f"{name} on {machine}: {fitting}"
    (specifier,) = fitting[0].specifier
    assert specifier.operator == "=="
    return specifier.version


CONSTRAINTS = read((ROOT / "constraints.txt").read_text())
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
PYTEST = SETTINGS["tool"]["pytest"]["ini_options"]
OLDEST = PROJECT["requires-python"].removeprefix(">=") + ".0"
EXTRAS = PROJECT["optional-dependencies"].values()
DIRECT = read("\n".join(chain(PROJECT["dependencies"], *EXTRAS)))
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())


def test_pytest_can_be_started_in_any_folder():
    """Its options are read where it is started: a file among them is found in one folder only."""
    values = [word.partition("=")[2] for word in shlex.split(PYTEST["addopts"])]
    assert [value for value in values if value and (ROOT / value).exists()] == []


@pytest.mark.parametrize("machine", MACHINES)
def test_pins_are_within_the_ranges(machine):
    for name, requirements in DIRECT.items():
        for requirement in requirements:
            assert requirement.specifier.contains(pinned(name, machine)), (name, machine)


def test_what_stands_beside_a_module_is_installed_with_it():
    installed = SETTINGS["tool"]["setuptools"]["package-data"]
    written = [p for p in (ROOT / "vggrepro").rglob("*.*") if not p.suffix.startswith(".py")]
    assert {path.suffix for path in written} > {".toml", ".csv"}
    for path in written:
        package = ".".join(path.relative_to(ROOT).parent.parts)
        assert any(map(path.match, installed.get(package, ()))), path


def test_conda_gets_the_same_pins():
    (lines,) = (entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict))
    assert lines[0] == "-c constraints.txt"
    assert lines[-1] == "-e .[book,test]"
    listed = read("\n".join(lines[1:-1]))
    assert set(listed) == set(DIRECT)
    assert {name: set(map(str, pins)) for name, pins in listed.items()} == {
        name: set(map(str, CONSTRAINTS[name])) for name in DIRECT
    }


def test_conda_gets_a_python_that_the_project_takes():
    (python,) = (d for d in ENVIRONMENT["dependencies"] if str(d).startswith("python"))
    wanted = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert wanted.contains(python.removeprefix("python="))


@pytest.mark.skipif(sys.platform != "linux", reason="the pins are those of Linux")
def test_everything_that_is_needed_is_pinned():
    """Walk from the direct dependencies to all that they bring."""
    left = [requirement for pins in DIRECT.values() for requirement in pins]
    seen = set()
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in seen or LEFT_TO_TORCH.match(name):
            continue
        seen.add(key)
        assert name in CONSTRAINTS, f"{requirement} has no pin in constraints.txt"
        try:
            needed = map(Requirement, requires(name) or ())
            pythons = SpecifierSet(metadata(name).get("Requires-Python", ""))
        except PackageNotFoundError:
            pytest.skip(f"{name} is not installed: pip install -e '.[book,test]'")
        assert pythons.contains(OLDEST), f"{name} as pinned is not for Python {OLDEST}"
        left += [
            need
            for need in needed
            if not need.marker
            or any(need.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras))
        ]


BLOCKED = """
import sys

class NotThere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, NotThere())
import vggrepro.pages.comparison
import vggrepro.pages.report, vggrepro.study.status
import vggrepro.study.runner, vggrepro.study.first_steps
import vggrepro.bench.speed, vggrepro.bench.planner
"""


def test_without_the_book_every_command_has_what_it_imports():
    blocked = ["jupyter_book", "jupytext", "papermill", "nbformat", "nbclient", "ipykernel"]
    code = BLOCKED.format(blocked=blocked)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # IPython comes with the book's packages; what is imported without them has to ask for it.
    assert "ipython" in read("\n".join(PROJECT["dependencies"]))


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("folder", ["it's here", "/data/$HOME x", "a b", '"', "$(shell false)"])
def test_make_hands_on_a_folder_of_any_name(folder):
    asked = ["make", "-n", "study", "BUDGET=reduced", f"DATA_DIR={folder}"]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (command,) = (line for line in said.splitlines() if "vggrepro rerun" in line)
    words = shlex.split(command)
    assert words[words.index("--data-dir") + 1] == folder


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_takes_whole_chapters_into_the_book_and_nothing_else(tmp_path):
    (tmp_path / "book" / "assets").mkdir(parents=True)
    (tmp_path / "_build" / "rerun").mkdir(parents=True)
    for name in ("01_one", "index"):
        (tmp_path / "book" / f"{name}.py").touch()
        (tmp_path / "book" / f"{name}.ipynb").write_text("committed")
        (tmp_path / "_build" / "rerun" / f"{name}.ipynb").write_text("rerun")
    for kind in ("9.running", "9.source", "failed"):
        (tmp_path / "_build" / "rerun" / f"01_one.{kind}.ipynb").touch()
    asked = ["make", "-n", "--no-print-directory", "study"]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    recipe = said[said.index("rm -rf _build/book-src") :].splitlines()
    copying = "\n".join(line for line in recipe if "python" not in line)
    subprocess.run(["bash", "-euc", copying], cwd=tmp_path, check=True)
    notebooks = (tmp_path / "_build" / "book-src").rglob("*.ipynb")
    found = {path.name: path.read_text() for path in notebooks}
    assert found == {"01_one.ipynb": "rerun", "index.ipynb": "rerun"}
