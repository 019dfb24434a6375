"""Who imports whom, and what the two ways to run have in common."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FLOWS = sorted((ROOT / "pipelines").glob("*.py"))
_spec = importlib.util.spec_from_file_location("import_closure", ROOT / "tests" / "import_closure.py")
import_closure = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(import_closure)


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_flows_import_prefect_and_what_finds_processes_and_files_no_framework(path):
    names = {name for name, _ in import_closure.imports(ast.parse(path.read_text(encoding="utf-8")))}
    allowed = {"prefect", "pipelines", "radsynth", "filelock", "psutil", "yaml"} | set(sys.stdlib_module_names)
    assert {name.split(".")[0] for name in names} <= allowed
    assert all(name.startswith("radsynth.tracking") for name in names if name.split(".")[0] == "radsynth")


def test_importing_every_flow_loads_no_framework():
    modules = ", ".join(f"pipelines.{path.stem}" for path in FLOWS if path.stem != "__init__")
    heavy = ("torch", "mlflow", "dvc", "transformers", "great_expectations")
    program = f"import sys, {modules}; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_recipes_name_stages_and_models_that_dvc_yaml_has():
    from pipelines.recipes import MODELS, RECIPES, WHOLE

    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    named = {s for r in RECIPES.values() for s in (r.take_in, *r.prepare, *r.train, r.training)} | set(WHOLE)
    assert named <= set(pipeline["stages"])
    assert set(MODELS) == set(RECIPES) == set(pipeline["artifacts"])
    for recipe in RECIPES.values():
        made = [out for stage in recipe.train for out in pipeline["stages"][stage]["outs"]]
        assert any(recipe.picture.startswith(out) for out in made)


def test_prefect_yaml_declares_every_flow_with_a_pool_and_parameters_that_fit():
    from pipelines.serve import deployments

    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    served = deployments(ROOT / "prefect.yaml")
    assert [(d["entrypoint"].split(":")[1], d["name"]) for d in declared] == [(d.flow_name, d.name) for d in served]
    assert {d.flow_name for d in served} == {"retrain", "promote", "rollback", "monitor"}
    assert {d["work_pool"]["name"] for d in declared} == {"cpu", "gpu"}
    for entry, deployment in zip(declared, served, strict=True):
        assert set(entry["parameters"]) <= set(deployment._parameter_openapi_schema.properties)
        assert [s.schedule.cron for s in deployment.schedules] == [s["cron"] for s in entry["schedules"]]


def test_prefect_toml_keeps_servers_on_this_machine_silent_and_results_in_json():
    program = (
        "from prefect.settings import get_current_settings as current; s = current();"
        "print(s.server.api.host, s.server.analytics_enabled, s.results.default_serializer, s.home)"
    )
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["127.0.0.1", "False", "json", ".prefect"], done.stderr
