"""The house's rules: who imports whom, and which code each stage answers for in dvc.yaml."""

from __future__ import annotations

import ast
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from radsynth.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
STAGES = sorted(path for path in (ROOT / "stages").glob("*.py") if path.name != "__init__.py")
HEAVY = (
    "torch", "torchvision", "transformers", "great_expectations", "mlflow", "matplotlib", "pandas", "numpy", "scipy",
    "sklearn", "SimpleITK", "nibabel", "pydicom", "PIL", "kornia_rs", "lxml", "pyarrow", "prefect", "dvc",
)  # fmt: skip

_spec = importlib.util.spec_from_file_location("import_closure", ROOT / "tests" / "import_closure.py")
import_closure = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(import_closure)


def packages_of(path: Path) -> set[str]:
    """Top-level packages that a file imports at run time."""
    return {name.split(".")[0] for name, _ in import_closure.imports(ast.parse(path.read_text(encoding="utf-8")))}


def pipeline() -> dict:
    return yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


# ---- imports ----


@pytest.mark.parametrize("contract", ["layers", "orchestration", "mlflow", "matplotlib", "networks"])
def test_the_import_contracts_are_kept(contract, contracts_kept):
    assert contract not in contracts_kept[0], contracts_kept[1]


@pytest.fixture(scope="module")
def contracts_kept() -> tuple[set[str], str]:
    """Names of the broken contracts, and what import-linter says."""
    import tomllib

    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    run = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    said = " ".join((run.stdout + run.stderr).split())
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert "Contracts:" in said, said
    broken = {c["id"] for c in contracts if f"{c['name']} BROKEN" in said}
    assert bool(broken) == bool(run.returncode), said
    return broken, run.stdout


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_a_stage_imports_radsynth_and_no_framework(path):
    assert "radsynth" in packages_of(path)
    allowed = {"radsynth", "numpy", "pandas"} | set(sys.stdlib_module_names)
    assert packages_of(path) <= allowed


@pytest.mark.parametrize(
    "path",
    sorted(p for part in ("networks", "losses") for p in (ROOT / "src" / "radsynth" / part).glob("*.py")),
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_networks_and_losses_import_torch_alone(path):
    assert packages_of(path) <= {"torch", "radsynth"} | set(sys.stdlib_module_names)
    for name, _ in import_closure.imports(ast.parse(path.read_text(encoding="utf-8"))):
        assert not name.startswith("radsynth.") or name.startswith(f"radsynth.{path.parent.name}."), name


def test_importing_the_command_line_loads_nothing_heavy():
    program = f"import sys, radsynth.cli; print(*[m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


# ---- dvc.yaml ----


def test_every_stage_file_is_a_stage_of_the_same_name():
    named = {name: import_closure.stage_file(stage) for name, stage in pipeline().items()}
    assert {path.stem for path in STAGES} == set(named)
    assert all(file == f"stages/{name}.py" for name, file in named.items())


def test_every_stage_lists_the_code_that_it_runs():
    assert import_closure.wrong_deps() == {}, "run `python tests/import_closure.py --write`"


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_a_stage_lists_the_settings_that_it_reads(path):
    """Its own section where there is one, and every other section, or a key of it, that its file names."""
    listed = {str(param).split(".")[0] for param in pipeline()[path.stem].get("params", [])}
    sections = set(Settings.model_fields)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & sections
    assert (read | {path.stem}) & sections <= listed
    assert listed <= sections


def test_the_page_depends_on_every_setting_that_it_shows():
    listed = set(pipeline()["report_page"]["params"])
    assert listed == set(Settings.model_fields) - {"gate", "monitor"}


def test_no_dep_is_listed_twice():
    for name, stage in pipeline().items():
        deps = [str(dep) for dep in stage.get("deps", [])]
        assert len(deps) == len(set(deps)), name


# ---- the tool that lists the code ----


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A small checkout with one stage, of which dvc.yaml knows nothing but its data."""
    files = {
        "src/radsynth/__init__.py": '"""Only words."""\n',
        "src/radsynth/errors.py": "",
        "src/radsynth/tables.py": "from radsynth.errors import Oops\nOops = 1\n",
        "src/radsynth/kind/__init__.py": "from radsynth.kind.base import Base\n",
        "src/radsynth/kind/base.py": "class Base: ...\n",
        "src/radsynth/kind/near.py": "def near():\n    from .far import far\n    return far, 'stored.py', 'gone.py'\n",
        "src/radsynth/kind/far.py": "import radsynth.tables\n",
        "src/radsynth/kind/stored.py": "X = 1\n",
        "src/radsynth/kind/unused.py": "X = 1\n",
        "src/radsynth/typed.py": "X = 1\n",
        "src/radsynth/phantom.py": "X = 1\n",
        "stages/make.py": (
            "from typing import TYPE_CHECKING\n"
            "import numpy\n"
            "from radsynth import phantom\n"
            "if TYPE_CHECKING:\n    from radsynth import typed\n"
            "else:\n    import radsynth.errors\n"
            "def main():\n    from radsynth.kind.near import near\n"
        ),
        "params.yaml": "make:\n  path: elsewhere\n",
        "conf/source/phantom.yaml": "make:\n  path: src/radsynth/phantom.py\n",
        "dvc.yaml": (
            "stages:\n"
            "  make: # the only one\n"
            "    cmd: python -m stages.make\n"
            "    params: [seed, make]\n"
            "    deps: ['${make.path}', data/raw, src/radsynth/removed.py, src/radsynth/typed.py]\n"
            "    outs: [data/made]\n"
            "  other:\n"
            "    cmd: echo hello\n"
            "    deps: [data/made, src/radsynth/typed.py]\n"
        ),
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "src/radsynth/errors.py").write_text("Oops = 1\n")
    return tmp_path


CODE = [
    "src/radsynth/errors.py",
    "src/radsynth/kind/__init__.py",
    "src/radsynth/kind/base.py",
    "src/radsynth/kind/far.py",
    "src/radsynth/kind/near.py",
    "src/radsynth/kind/stored.py",
    "src/radsynth/phantom.py",
    "src/radsynth/tables.py",
]


def test_the_closure_follows_late_relative_package_and_named_imports_but_no_typing_ones(checkout):
    assert import_closure.closure(checkout / "stages/make.py", checkout) == CODE


def test_a_file_that_a_setting_may_name_is_not_listed_again(checkout):
    wrong = import_closure.wrong_deps(checkout)
    expected = ["stages/make.py", *[file for file in CODE if file != "src/radsynth/phantom.py"]]
    assert wrong == {
        "make": [f"+ {file}" for file in expected] + ["- src/radsynth/removed.py", "- src/radsynth/typed.py"]
    }


def test_writing_puts_the_deps_right_and_leaves_the_rest(checkout):
    import_closure.write_deps(checkout)
    assert import_closure.wrong_deps(checkout) == {}
    text = (checkout / "dvc.yaml").read_text()
    stages = yaml.safe_load(text)["stages"]
    assert "# the only one" in text
    assert "params: [seed, make]" in text
    assert stages["make"]["deps"][:3] == ["${make.path}", "data/raw", "stages/make.py"]
    assert stages["other"]["deps"] == ["data/made", "src/radsynth/typed.py"]
    import_closure.write_deps(checkout)
    assert (checkout / "dvc.yaml").read_text() == text


def test_a_new_helper_makes_the_list_wrong(checkout):
    import_closure.write_deps(checkout)
    shutil.copy(checkout / "src/radsynth/typed.py", checkout / "src/radsynth/helper.py")
    with open(checkout / "src/radsynth/tables.py", "a") as file:
        file.write("def later():\n    from radsynth import helper\n")
    assert import_closure.wrong_deps(checkout) == {"make": ["+ src/radsynth/helper.py"]}


def test_a_part_of_a_page_that_a_string_names_is_listed_and_not_read_as_code(checkout):
    (checkout / "src/radsynth/kind/page.html").write_text("<p>{{ not python }}</p>")
    (checkout / "src/radsynth/kind/near.py").write_text("PARTS = ('page.html', 'gone.css')\n")
    assert "src/radsynth/kind/page.html" in import_closure.closure(checkout / "stages/make.py", checkout)
