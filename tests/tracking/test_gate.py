"""Only what is better, safe and whole becomes the champion, and the decision says why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from radsynth.cli import cli
from radsynth.errors import RadsynthError
from radsynth.evaluation.intervals import Interval
from radsynth.evaluation.rescore import Compared
from radsynth.files import read_json, write_json
from radsynth.schemas import CHEST, VOLUMES
from radsynth.settings import Rule
from radsynth.tracking import gate, registry
from radsynth.tracking.dvc_files import object_path
from radsynth.tracking.gate import Decision
from radsynth.tracking.learned import learned_from
from radsynth.tracking.registry import REGISTERED, find, promote, register, resolve, rollback, versions
from radsynth.volumes.common_grid import FILE, read_common_grid, write_common_grid

CT, XRAY = "mri-to-ct", "report-to-xray"
TrainAgain = Callable[..., None]


def aliases(root: Path, name: str = CT) -> dict[str, int]:
    """Alias -> version."""
    return {alias: version.version for version in versions(root, name) for alias in version.aliases}


def set_rule(root: Path, model: str, **rules: Any) -> None:
    """Change what the gate asks."""
    settings = yaml.safe_load((root / "params.yaml").read_text())
    settings["gate"][model] |= rules
    (root / "params.yaml").write_text(yaml.safe_dump(settings))


def check(decision: Decision, name: str) -> gate.Check:
    """One line of the table."""
    return next(check for check in decision.checks if check.name == name)


def run(root: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    """The command line in a checkout."""
    monkeypatch.chdir(root)
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


# ---- decisions ----


@pytest.mark.parametrize("name", REGISTERED)
def test_a_better_model_is_promoted_with_both_scored_on_the_same_patients(name: str, two: Path) -> None:
    decision = promote(two, name)
    assert (decision.outcome, decision.champion, decision.exit_code) == ("promoted", 1, 0)
    figure = check(decision, {CT: "mae_hu", XRAY: "layout_error"}[name])
    assert figure.challenger["value"] < figure.champion["value"]
    assert figure.gain["value"] == pytest.approx(figure.champion["value"] - figure.challenger["value"])
    assert figure.gain["low"] > 0
    assert figure.challenger["n"] == figure.champion["n"] == {CT: 3, XRAY: 6}[name]
    assert aliases(two, name) == {"champion": 2, "previous": 1}


@pytest.mark.parametrize("name", REGISTERED)
def test_a_worse_model_is_refused_with_its_reason(name: str, two: Path, train_again: TrainAgain) -> None:
    train_again(two, name, 0.2, "c" * 16)
    decision = promote(two, name)
    assert (decision.outcome, decision.exit_code) == ("refused", 4)
    figure = {CT: "mae_hu", XRAY: "layout_error"}[name]
    assert any(reason.startswith(f"{figure}: gain -") for reason in decision.reasons)
    assert aliases(two, name) == {"champion": 1, "challenger": 2}
    assert find(two, name, 2).tags["radsynth.gate"] == "refused"


def test_the_first_model_is_judged_by_floors_alone(judged: Path) -> None:
    set_rule(judged, "mri_to_ct", ssim={"floor": 1.01, "better_by": None, "lower_end": None})
    decision = promote(judged, CT)
    assert decision.reasons == (
        f"ssim: value {gate.number(check(decision, 'ssim').challenger['value'])}, asked at least 1.01",
    )
    assert aliases(judged) == {"challenger": 1}
    set_rule(judged, "mri_to_ct", ssim={"floor": 0.5, "better_by": 100.0, "lower_end": 100.0})
    assert promote(judged, CT).outcome == "promoted"
    assert aliases(judged) == {"champion": 1}


def test_the_champion_itself_is_unchanged(judged: Path) -> None:
    promote(judged, CT)
    before = find(judged, CT, 1)
    again = promote(judged, CT)
    assert (again.outcome, again.exit_code, find(judged, CT, 1)) == ("unchanged", 0, before)


def test_the_same_weights_of_another_training_are_unchanged(judged: Path, train_again: TrainAgain) -> None:
    promote(judged, CT)
    folder = judged / "plots/train_cyclegan"
    next(folder.glob("*.png")).unlink()
    decision = promote(judged, CT)
    assert (decision.outcome, decision.version) == ("unchanged", 2)
    assert aliases(judged) == {"champion": 1, "challenger": 2}


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("audit_mri_to_ct", None, "memorisation: missing, asked passed"),
        ("audit_mri_to_ct", {"report_to_xray_passed": True}, "memorisation: missing, asked passed"),
        ("audit_mri_to_ct", {"mri_to_ct_passed": False}, "memorisation: failed, asked passed"),
        ("validate_brain", None, "validation: missing, asked passed"),
        ("validate_brain", {"success": False}, "validation: failed, asked passed"),
    ],
)
def test_a_missing_or_failed_fact_blocks(file: str, content: Any, says: str, judged: Path) -> None:
    path = judged / f"metrics/{file}.json"
    path.unlink()
    if content:
        write_json(path, content)
    decision = promote(judged, CT)
    assert (decision.outcome, decision.reasons) == ("refused", (says,))


def test_an_audit_that_lists_a_copied_x_ray_blocks_the_better_model(two: Path) -> None:
    """The audit's own result for a generator that copies, as the stage writes it."""
    listed = [{"origin": "held-out report CXR7, noise 23", "training_study": "CXR33", "similarity": 0.97}]
    reason = "1 of 52 drawn pictures are nearer to a training picture than the limit"
    verdict = {"report_to_xray_passed": False, "report_to_xray_reason": reason, "copies": 1.0, "listed": listed}
    write_json(two / "metrics/audit_report_gan.json", verdict)
    decision = promote(two, XRAY)
    assert (decision.outcome, decision.reasons) == ("refused", ("memorisation: failed, asked passed",))
    assert aliases(two, XRAY)["champion"] == 1
    assert promote(two, CT).outcome == "promoted", "the other model is not to blame"


def test_a_blind_audit_blocks_too(two: Path) -> None:
    write_json(two / "metrics/audit_report_gan.json", {"report_to_xray_passed": None})
    assert promote(two, XRAY).reasons == ("memorisation: missing, asked passed",)


def test_a_fact_that_came_later_is_seen_also_where_the_version_is_named(judged: Path) -> None:
    path = judged / "metrics/audit_mri_to_ct.json"
    path.rename(path.with_suffix(".later"))
    register(judged, CT)
    path.with_suffix(".later").rename(path)
    assert promote(judged, CT, version=1).outcome == "promoted"


def test_memorisation_of_another_model_is_missing(judged: Path) -> None:
    lock = yaml.safe_load((judged / "dvc.lock").read_text())
    lock["stages"]["audit_mri_to_ct"] = {"deps": [{"path": "models/mri_to_ct", "md5": "1" * 32}]}
    (judged / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert register(judged, CT).tags["radsynth.memorisation"] == "missing"
    lock["stages"]["audit_mri_to_ct"]["deps"][0]["md5"] = lock["stages"]["train_cyclegan"]["outs"][0]["md5"]
    (judged / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert register(judged, CT).tags["radsynth.memorisation"] == "passed"


def test_a_model_that_the_lock_does_not_know_yet_has_no_verdict(two: Path, train_again: TrainAgain) -> None:
    """The new model is written, dvc.lock and the audit are still of the one before."""
    lock = yaml.safe_load((two / "dvc.lock").read_text())
    lock["stages"]["audit_mri_to_ct"] = {"deps": lock["stages"]["train_cyclegan"]["outs"]}
    before = yaml.safe_dump(lock)
    train_again(two, CT, 0.0, "c" * 16)
    after = (two / "dvc.lock").read_text()
    (two / "dvc.lock").write_text(before)
    decision = promote(two, CT)
    assert decision.outcome == "refused"
    assert decision.reasons == ("validation: missing, asked passed", "memorisation: missing, asked passed")
    (two / "dvc.lock").write_text(after)
    assert promote(two, CT).outcome == "promoted"


@pytest.mark.parametrize("mode", ["enabled", "disabled"])
def test_a_flipped_byte_in_the_challenger_blocks(mode: str, judged: Path) -> None:
    weights = register(judged, CT).folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    decision = promote(judged, CT, mode=mode, version=1)
    assert (decision.outcome, decision.version) == ("refused", 1)
    assert "weights.safetensors is not the file that was registered (challenger)" in decision.reasons[0]
    assert "champion" not in aliases(judged)


@pytest.mark.parametrize("trained_again", [False, True])
def test_a_champion_whose_files_are_gone_is_replaced_by_the_same_model(trained_again: bool, two: Path) -> None:
    promote(two, CT)
    shutil.rmtree(find(two, CT, 2).source)
    if trained_again:
        next((two / "plots/train_cyclegan").glob("*.png")).unlink()
    decision = promote(two, CT)
    assert (decision.outcome, decision.version, decision.champion) == ("promoted", 3, 2)
    assert check(decision, "mae_hu").champion is None
    assert aliases(two) == {"champion": 3, "previous": 1}
    assert resolve(two, CT).version == 3
    assert promote(two, CT).outcome == "unchanged"


def test_dry_run_judges_and_moves_nothing(two: Path) -> None:
    decision = promote(two, CT, mode="dry_run")
    assert (decision.outcome, decision.verdict, decision.exit_code) == ("dry_run", "would be promoted", 0)
    assert aliases(two) == {"champion": 1, "challenger": 2}
    assert "radsynth.gate" not in find(two, CT, 2).tags
    assert read_json(two / "mlruns/decisions/mri-to-ct-v2-dry-run.json")["passed"] is True


def test_the_disabled_gate_promotes_unseen_and_says_so(two: Path, train_again: TrainAgain) -> None:
    train_again(two, CT, 0.2, "c" * 16)
    decision = promote(two, CT, mode="disabled")
    assert (decision.outcome, [c.name for c in decision.checks]) == ("promoted", ["files"])
    assert "promoted with the gate disabled" in (two / "mlruns/cards/mri-to-ct-v2.md").read_text()


def test_what_was_rolled_back_returns_only_by_name(two: Path) -> None:
    promote(two, CT)
    rollback(two, CT)
    decision = promote(two, CT)
    assert decision.outcome == "refused"
    assert "--version 2` brings it back" in decision.reasons[0]
    assert promote(two, CT, version=2).outcome == "promoted"
    assert aliases(two) == {"champion": 2, "previous": 1}


@pytest.mark.parametrize("mark", ["b", "c"])
def test_weights_that_were_rolled_back_do_not_return_as_another_version(
    mark: str, two: Path, train_again: TrainAgain
) -> None:
    """Trained again, by the same or by other code, with the same weights and another picture drawn on the way."""
    promote(two, CT)
    rollback(two, CT)
    train_again(two, CT, 0.0, mark * 16)
    next((two / "plots/train_cyclegan").glob("*.png")).unlink()
    decision = promote(two, CT)
    assert (decision.outcome, decision.version) == ("refused", 3)
    says = "rolled back: v3 holds the weights of v2, which was rolled back; `radsynth promote mri-to-ct --version 3`"
    assert decision.reasons[0].startswith(says)
    assert aliases(two) == {"champion": 1, "previous": 2, "challenger": 3}
    assert promote(two, CT, version=3).outcome == "promoted"
    assert [v.tags.get("radsynth.rolled_back") for v in versions(two, CT)] == [None, None, None]


def learned_before(root: Path, name: str, learned: int) -> None:
    """Both versions recorded a table in which the first of today's test patients were learned from."""
    data, table, digest = {CT: ("brain", VOLUMES, "d" * 32), XRAY: ("chest", CHEST, "f" * 32)}[name]
    path = root / f"data/{data}/manifest.parquet"
    today = table.read(path)
    today["source_sha256"] = today["subject_id"] + today.get("modality", "")
    table.write(today, path)
    known = list(today.loc[today["split"] == "test", "subject_id"].unique())[:learned]
    then = today.assign(split=["validation" if subject in known else "test" for subject in today["subject_id"]])
    kept = object_path(root / ".dvc/cache", digest)
    kept.parent.mkdir(parents=True)
    table.write(then, kept)


@pytest.mark.parametrize(("name", "before"), [(CT, 3), (XRAY, 6)])
def test_both_are_scored_on_patients_that_neither_learned_from(name: str, before: int, two: Path) -> None:
    learned_before(two, name, 1)
    decision = promote(two, name)
    assert decision.outcome == "promoted"
    figure = check(decision, {CT: "mae_hu", XRAY: "layout_error"}[name])
    assert figure.challenger["n"] == figure.champion["n"] == decision.basis["patients"] == before - 1
    assert (decision.basis["patients_left_out"], decision.basis["learned_from_unknown"]) == (1, [])
    assert check(decision, "test patients").challenger == f"{before - 1} of {before}"
    card = (two / f"mlruns/cards/{name}-v2.md").read_text()
    assert f"On {before - 1} held-out patients (1 more left out" in card


@pytest.mark.parametrize(("name", "everybody"), [(CT, 3), (XRAY, 6)])
@pytest.mark.parametrize("left", [0, 1])
def test_too_few_patients_that_neither_learned_from_block(name: str, everybody: int, left: int, two: Path) -> None:
    learned_before(two, name, everybody - left)
    set_rule(two, {CT: "mri_to_ct", XRAY: "report_to_xray"}[name], least_patients=2)
    decision = promote(two, name)
    assert decision.outcome == "refused"
    learned = f"{everybody - left} of {everybody} were learned from by challenger or champion"
    assert decision.reasons[0] == f"test patients: {left} left, asked at least 2: {learned}"


def test_whom_a_version_learned_from_is_said_to_be_unknown_without_its_table(two: Path) -> None:
    decision = promote(two, CT)
    assert decision.basis["learned_from_unknown"] == ["challenger v2", "champion v1"]
    assert (decision.basis["patients"], decision.basis["patients_left_out"]) == (3, 0)
    assert "Whether champion v1 learned from test patients is not known" in find(two, CT, 2).tags["radsynth.card"]


@pytest.mark.parametrize(("source", "known"), [("folder", {"p0"}), ("phantom", set())])
def test_a_person_is_known_by_the_id_and_a_phantom_by_its_files(source: str, known: set[str], two: Path) -> None:
    learned_before(two, CT, 1)
    version = find(two, CT, "champion")
    version = replace(version, tags=version.tags | {"radsynth.brain_source": source})
    today = VOLUMES.read(two / "data/brain/manifest.parquet")
    assert learned_from(two, version, today) == {"p0"}
    assert learned_from(two, version, today.assign(source_sha256="of today")) == known


def test_too_few_patients_are_no_figure(judged: Path) -> None:
    set_rule(judged, "mri_to_ct", least_patients=4)
    assert "mae_hu: 3 patients, asked at least 4" in promote(judged, CT).reasons


def test_a_champion_that_cannot_read_the_test_set_blocks_with_the_reason(two: Path) -> None:
    write_json(two / "data/chest/embeddings/encoder.json", {"digest": "0" * 64, "max_tokens": 160})
    decision = promote(two, XRAY)
    assert decision.outcome == "refused"
    assert "text encoder" in check(decision, "test set").failed[0]
    assert "layout_error: missing, and it is asked for" in decision.reasons


def test_heads_placed_by_another_reference_head_block_with_the_reason(two: Path) -> None:
    """The grid has the same shape, so that the networks would run."""
    path = two / "data/brain/aligned" / FILE
    common = read_common_grid(path)
    write_common_grid(replace(common, head=replace(common.head, image=common.head.image + 1)), path)
    decision = promote(two, CT)
    assert decision.outcome == "refused"
    tested = check(decision, "test set")
    assert (tested.challenger, tested.champion) == ("not scored", "not scored")
    assert "placed by another reference head or grid; got common_grid.safetensors" in tested.failed[1]
    assert "mae_hu: missing, and it is asked for" in decision.reasons


@pytest.mark.parametrize("name", REGISTERED)
def test_a_champion_that_todays_code_cannot_build_blocks_with_the_reason(
    name: str, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = find(two, name, "champion").folder / "model.json"
    described = read_json(path)
    write_json(path, described | {"network": described["network"] | {"of_old": 1}})
    monkeypatch.setattr(registry, "_check_files", lambda version: None)
    decision = promote(two, name)
    assert (decision.outcome, decision.exit_code) == ("refused", 4)
    tested = check(decision, "test set")
    assert (tested.challenger, tested.champion) == ("scored", "not scored")
    assert "of another version" in tested.failed[0]


def test_an_unknown_mode_is_a_mistake(judged: Path) -> None:
    with pytest.raises(RadsynthError, match="enabled or dry_run or disabled"):
        promote(judged, CT, mode="on")


# ---- what is asked of a figure ----


def compared(value: float, gain: tuple[float, float, float] | None, higher: bool = True) -> Compared:
    """A figure of ten patients."""
    own = Interval(value, value - 0.1, value + 0.1, 10)
    return Compared("what it is", higher, own, own if gain else None, Interval(*gain, 10) if gain else None)


@pytest.mark.parametrize(
    ("figure", "rule", "reasons"),
    [
        (compared(0.6, None), (0.5, 0.1, 0.0), ()),
        (compared(0.4, None), (0.5, None, None), ("value 0.4, asked at least 0.5",)),
        (compared(0.6, None, higher=False), (0.5, None, None), ("value 0.6, asked at most 0.5",)),
        (compared(0.6, (0.2, 0.1, 0.3)), (0.5, 0.2, 0.1), ()),
        (compared(0.6, (0.2, 0.1, 0.3)), (None, 0.25, None), ("gain 0.2, asked at least 0.25",)),
        (compared(0.6, (0.2, -0.1, 0.3)), (None, 0.1, 0.0), ("lower end of the gain -0.1, asked at least 0",)),
        (compared(float("nan"), None), (0.5, None, None), ("value is missing",)),
        (compared(0.6, (0.2, float("nan"), float("nan"))), (None, None, -1.0), ("lower end of the gain is missing",)),
        (None, (0.5, None, None), ("missing, and it is asked for",)),
        (None, (None, None, None), ()),
    ],
)
def test_a_rule_holds_or_says_why_not(figure: Compared | None, rule: tuple[float | None, ...], reasons: Any) -> None:
    asked = Rule(floor=rule[0], better_by=rule[1], lower_end=rule[2])
    assert gate._judge("figure", figure, asked, 5).failed == reasons


@pytest.mark.parametrize(
    ("gain", "blocks"),
    [((-0.2, -0.3, -0.1), True), ((-0.2, -0.5, 0.1), False), ((-0.05, -0.06, -0.04), False), ((0.2, 0.1, 0.3), False)],
)
def test_a_finding_blocks_where_it_fell_far_and_beyond_doubt(gain: tuple[float, float, float], blocks: bool) -> None:
    judged = gate._judge_finding("auroc_nodule", compared(0.6, gain), 0.1)
    assert judged.failed == (("fell by 0.2, asked at most 0.1",) if blocks else ())


# ---- what people see ----


def test_record_keeps_every_figure_and_gives_the_decision_back(two: Path) -> None:
    decision = promote(two, CT)
    record = read_json(two / "mlruns/decisions/mri-to-ct-v2.json")
    assert Decision.of_record(record) == decision
    assert json.loads(find(two, CT, 2).tags["radsynth.gate_decision"]) == record
    mae = next(check for check in record["checks"] if check["name"] == "mae_hu")
    assert set(mae["gain"]) == {"value", "low", "high", "n"}
    assert mae["asked"] == {"floor": 1000.0, "better_by": 0.0, "lower_end": -5.0}


def test_the_commands_tell_the_story(two: Path, train_again: TrainAgain, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(two, monkeypatch, "promote", CT)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "promoted: mri-to-ct v2 is the champion"
    assert run(two, monkeypatch, "promote", CT).stdout.splitlines()[-1].startswith("unchanged: ")
    train_again(two, CT, 0.2, "c" * 16)
    refused = run(two, monkeypatch, "promote", CT)
    assert refused.exit_code == 4
    assert refused.stdout.splitlines()[-1].startswith("refused: mae_hu: ")
    back = run(two, monkeypatch, "rollback", CT)
    assert (back.exit_code, back.stdout) == (0, "mri-to-ct v1 is the champion again\n")
    rows = [line.split()[:3] for line in run(two, monkeypatch, "models").stdout.splitlines()]
    assert rows[2:] == [[CT, "v1", "champion"], [CT, "v2", "previous"], [CT, "v3", "challenger"]]
