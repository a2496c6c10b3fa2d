"""Reading results needs no torch: a chapter opens, and `vggrepro --help` answers, at once."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PACKAGE = ROOT / "vggrepro"

#: From the bottom up: a part may import those before it.
PARTS = ("library", "study", "bench", "pages")

#: They may import from anywhere: the face and the command line.
ABOVE_ALL = ("vggrepro", "vggrepro.__main__", "vggrepro.cli")

#: Modules of the study that train or test, and so bring torch.
TRAIN = {"run", "runner", "first_steps", "provenance", "own", "own_training"}


def modules() -> dict[str, Path]:
    """Dotted name and file of every module of the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def part_of(module: str) -> str:
    """The part that a module of the package belongs to: its folder, or the library."""
    folder = [*module.split("."), ""][1]
    return folder if folder in PARTS else "library"


def imported(path: Path) -> set[str]:
    """Every module of the package that a file imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide where a module stands"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("vggrepro.")}


def test_imports_go_one_way():
    upwards = set()
    for module, path in modules().items():
        if module in ABOVE_ALL:
            continue
        allowed = PARTS[: PARTS.index(part_of(module)) + 1]
        needed = imported(path)
        assert "cli" not in {name.split(".")[1] for name in needed}, module
        upwards |= {(module, part) for part in map(part_of, needed) if part not in allowed}
    assert upwards == set()


def test_import_brings_no_torch():
    """The face, the command line, photos, what pages show and what the study decides."""
    light = {"vggrepro", "vggrepro.cli"}
    light |= {f"vggrepro.{name}" for name in ("configs", "windows", "cost", "recipe", "files")}
    for module in modules():
        part, name = part_of(module), module.rsplit(".")[-1]
        deciding = part == "study" and name not in TRAIN
        if deciding or part == "pages" or module.startswith("vggrepro.data"):
            light.add(module)
    code = """if True:
        import importlib, sys
        for module in sys.argv[1:]:
            importlib.import_module(module)
            if brought := {"torch", "torchvision"} & set(sys.modules):
                sys.exit(f"{module} brings {brought}")
    """
    done = subprocess.run(
        [sys.executable, "-c", code, *sorted(light)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("part", PARTS[1:])
def test_a_part_says_what_lives_there_and_what_it_may_import(part):
    said = ast.get_docstring(ast.parse((PACKAGE / part / "__init__.py").read_text()))
    assert "may import" in said


def test_the_reading_list_of_the_library_names_what_is_there():
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = guide.split("## The library in an hour")[1].split("\n## ")[0]
    named = re.findall(r"`([\w/]+\.py)`", section)
    assert all((PACKAGE / name).is_file() for name in named)
    library = {
        path.relative_to(PACKAGE) for path in (*PACKAGE.glob("*.py"), *PACKAGE.glob("data/*"))
    }
    expected = {path.as_posix() for path in library if path.suffix == ".py"}
    assert expected - set(named) == {"__init__.py", "__main__.py", "cli.py", "data/__init__.py"}


def test_installed_without_a_checkout_it_works_where_it_is_run(tmp_path):
    """A copy of the package alone, as pip installs it: no record goes beside the packages."""
    installed, here = tmp_path / "installed", tmp_path / "here"
    shutil.copytree(ROOT / "vggrepro", installed / "vggrepro")
    here.mkdir()
    code = "from vggrepro.study import store; print(store.RERUN)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(here / "rerun"), done.stderr
