"""Registered models: versions that can be checked, and the aliases `challenger`, `champion` and `previous`.

A version is made in one transaction with all that is known of it, the digest of every file included. Aliases move in
one transaction as well (`radsynth.tracking.moves`): killed at any moment, the registry is in the old or the new state.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from radsynth.errors import RadsynthError
from radsynth.files import atomic_path, read_json, sha256_of, write_json
from radsynth.tracking.facts import file_digests, lasting_facts, verdict_facts
from radsynth.tracking.moves import move
from radsynth.tracking.outputs import Training, finished_trainings
from radsynth.tracking.store import DATABASE, open_store

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

    from radsynth.tracking.gate import Decision

REGISTERED: dict[str, str] = {"report-to-xray": "train_report_gan", "mri-to-ct": "train_cyclegan"}
"""Registered model -> the stage that trains it."""

DECISIONS, CARDS = Path("mlruns/decisions"), Path("mlruns/cards")
DESCRIPTION_CHARACTERS = 5000
"""What MLflow's database keeps of a description."""

WEIGHTS = "/weights.safetensors"
CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"


@dataclass(frozen=True)
class Version:
    """One version of a registered model.

    Parameters
    ----------
    aliases
        Names that point to it now, sorted.
    tags
        What was recorded of it, see `radsynth.tracking.facts`.
    source
        Folder of the logged model: MLmodel, code, weights.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    tags: dict[str, str]
    run_id: str
    model_id: str
    source: Path

    @property
    def folder(self) -> Path:
        """The folder with weights.safetensors and model.json."""
        return model_folder(self.source)

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


@dataclass(frozen=True)
class Resolved:
    """A model that was asked for by alias, version or path.

    Parameters
    ----------
    version
        None where it was asked for by path.
    folder
        With weights.safetensors and model.json, as `radsynth.training.models.load_model` reads it.
    digest
        SHA-256 of the folder, as `radsynth.files.sha256_of` makes it, taken now.
    """

    name: str
    version: int | None
    reference: str
    folder: Path
    digest: str
    tags: dict[str, str]


def same_weights(one: Version, other: Version) -> bool:
    """Whether two versions hold the same weights, whatever they say of settings, data and code."""
    digests = [
        {digest for name, digest in json.loads(v.tags.get("radsynth.files", "{}")).items() if name.endswith(WEIGHTS)}
        for v in (one, other)
    ]
    return one.version == other.version or (digests[0] == digests[1] != set())


def model_folder(source: Path) -> Path:
    """The folder with the weights inside a logged model.

    Raises
    ------
    RadsynthError
        Where there is none.
    """
    found = sorted(path.parent for path in source.glob("artifacts/*/model.json"))
    if not found:
        raise RadsynthError("the logged model is gone or incomplete", where=source, expected="artifacts/*/model.json")
    return found[0]


def versions(root: str | Path, name: str) -> list[Version]:
    """Every version of a registered model, oldest first; [] where nothing was registered.

    Raises
    ------
    RadsynthError
        Where there is no such model, or the store cannot be opened.
    """
    known(name)
    if not (Path(root) / DATABASE).is_file():
        return []
    client, _ = open_store(root)
    return _versions(client, name)


def find(root: str | Path, name: str, reference: str | int) -> Version:
    """The version that an alias, ``3`` or ``v3`` names.

    Raises
    ------
    RadsynthError
        Where there is none; says what to do.
    """
    found, text = versions(root, name), str(reference)
    number = text.removeprefix("v")
    if number.isdigit():
        chosen = [version for version in found if version.version == int(number)]
        have = ", ".join(f"v{version.version}" for version in found) or "no version"
        step = f"run `radsynth promote {name}` to register the finished training" if not found else None
    else:
        chosen = [version for version in found if text in version.aliases]
        have = ", ".join(sorted(alias for version in found for alias in version.aliases)) or "no alias"
        step = {
            PREVIOUS: "there is a previous version after the second promotion",
            CHALLENGER: f"the latest version is in use already; `radsynth models` lists all of {name}",
        }.get(text if found else "", f"run `radsynth promote {name}`")
        step = step if text in (CHALLENGER, CHAMPION, PREVIOUS) else "give champion, challenger, previous or a version"
    if not chosen:
        raise RadsynthError(f"{name} has no {text!r}", got=have, next_step=step)
    return chosen[0]


def resolve(root: str | Path, name: str, reference: str = CHAMPION) -> Resolved:
    """The model that `reference` names, its weights checked against what was recorded.

    Parameters
    ----------
    reference
        An alias, a version (``3`` or ``v3``), or the path of a model folder.

    Raises
    ------
    RadsynthError
        Where there is no such model, or its files are not those that were registered.
    """
    known(name)
    reference = str(reference)
    folder = Path(reference)
    alias = reference in (CHALLENGER, CHAMPION, PREVIOUS) or reference.removeprefix("v").isdigit()
    if folder.is_dir() and not alias:
        if not ((folder / "weights.safetensors").is_file() and (folder / "model.json").is_file()):
            raise RadsynthError("no model here", where=folder, expected="weights.safetensors and model.json")
        return Resolved(name, None, reference, folder, sha256_of(folder), {})
    if "/" in reference:
        raise RadsynthError("no such folder", where=folder, expected="an alias, a version or a model folder")
    version = find(root, name, reference)
    digest = sha256_of(version.folder)
    if digest != version.tags.get("radsynth.model_sha256"):
        _check_files(version)
        raise RadsynthError(f"{version}: the weights are not those that were registered", where=version.folder)
    return Resolved(name, version.version, reference, version.folder, digest, version.tags)


def verify(root: str | Path, name: str, version: int) -> Version:
    """Hash every file of a version again.

    Raises
    ------
    RadsynthError
        Where a file is missing, changed or was added; names it.
    """
    found = find(root, name, version)
    _check_files(found)
    return found


def register(root: str | Path, name: str) -> Version:
    """Publish the finished training and register its model, with the alias `challenger`.

    The same training result (fingerprint and digest of what it wrote) has one version, however often this is called; a
    registration that was broken off is completed. Where files of that version are damaged or gone, the model is logged
    anew, as another version. A version that is the champion already gets no alias.

    Raises
    ------
    RadsynthError
        Where there is no finished training, or the store cannot be opened.
    """
    from radsynth.tracking.publish import publish

    root = Path(root)
    training = _training(root, name)
    publish(root)
    with locked(root):
        return _register(root, name, training)


def promote(root: str | Path, name: str, *, mode: str | None = None, version: int | None = None) -> Decision:
    """Register the finished training if needed, judge it, and make it the champion where the gate lets it.

    The decision, the aliases, the model card as the version's description: all are written in one transaction. The
    files ``mlruns/decisions/NAME-vN.json`` and ``mlruns/cards/NAME-vN.md`` repeat what the registry holds, and are
    written again where they are missing.

    Parameters
    ----------
    mode
        ``enabled``, ``dry_run`` or ``disabled``; None is what the settings say.
    version
        A version to promote in place of the finished training's; weights that were rolled back come back only so.

    Raises
    ------
    RadsynthError
        Where there is nothing to promote, or nothing to score it with.
    """
    from radsynth.settings import load
    from radsynth.tracking.gate import decide

    root = Path(root)
    settings = load(root / "params.yaml")
    challenger = find(root, name, version) if version is not None else None
    if challenger is None or _is_current(root, challenger):
        challenger = register(root, name)
    with locked(root):
        there = versions(root, name)
        challenger = next(v for v in there if v.version == (version or challenger.version))
        champion = _aliased(there, CHAMPION)
        decision = decide(
            root,
            name,
            challenger,
            champion,
            mode=mode or settings.gate.mode,
            settings=settings,
            files=_check_files,
            named=version is not None,
            rolled_back=[v for v in there if v.tags.get("radsynth.rolled_back")],
        )
        if decision.outcome != "unchanged":
            _settle(root, challenger, champion, decision, there)
        _write_files(root, name)
    return decision


def rollback(root: str | Path, name: str) -> Version:
    """Make the previous version the champion again, and the champion the previous one; twice is as before.

    The champion is the one before any wait for the lock: what a gate at work promotes meanwhile is not undone.

    Raises
    ------
    RadsynthError
        Where there is no previous version, its files are not those that were registered, or another version became the
        champion meanwhile.
    """
    known(name)
    seen = find(root, name, CHAMPION)
    with locked(root):
        back, champion = find(root, name, PREVIOUS), find(root, name, CHAMPION)
        if champion.version != seen.version:
            raise RadsynthError(
                f"{name}: another version became the champion while the rollback waited; nothing was moved",
                got=f"champion v{champion.version}",
                expected=f"v{seen.version}, to go back from",
                next_step=f"`radsynth rollback {name}` again goes back from v{champion.version}",
            )
        _check_files(back)
        move(
            root,
            name,
            aliases={CHAMPION: back.version, PREVIOUS: champion.version},
            tags=_restored(back, versions(root, name)) | {champion.version: {"radsynth.rolled_back": "true"}},
        )
        _write_files(root, name)
        return find(root, name, back.version)


def models_table(root: str | Path) -> str:
    """Every version of every registered model, one line each."""
    rows = [("model", "version", "aliases", "gate", "fingerprint", "commit")]
    for name in REGISTERED:
        for version in versions(root, name):
            tags = version.tags
            gate = tags.get("radsynth.gate", "not judged")
            gate += ", rolled back" if tags.get("radsynth.rolled_back") else ""
            commit = tags.get("radsynth.git_commit", "-")[:8] + (
                "+" if tags.get("radsynth.git_dirty") == "true" else ""
            )
            aliases = ", ".join(version.aliases) or "-"
            rows.append((name, f"v{version.version}", aliases, gate, tags.get("radsynth.fingerprint", "-"), commit))
    if len(rows) == 1:
        return "no model was registered yet; run `radsynth promote report-to-xray`"
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def locked(root: str | Path) -> BaseFileLock:
    """The lock under which the registry of a checkout is changed."""
    from filelock import FileLock

    return FileLock(Path(root) / "mlruns" / ".registry.lock")


def known(name: str) -> str:
    """The stage that trains a registered model.

    Raises
    ------
    RadsynthError
        Where there is no such model.
    """
    if name not in REGISTERED:
        raise RadsynthError("no such model", got=repr(name), expected=" or ".join(REGISTERED))
    return REGISTERED[name]


def _register(root: Path, name: str, training: Training) -> Version:
    from mlflow.exceptions import MlflowException

    client, experiment = open_store(root)
    run, model = _published(client, experiment, training)
    verdicts = verdict_facts(training)
    same = [version for version in _versions(client, name) if _same_result(version, run)]
    found = next((version for version in same if _is_whole(version)), None)
    if found is None:
        if any(version.model_id == model.model_id for version in same) or not _holds(model, training):
            run, model = _logged_anew(client, experiment, training, run, model)
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = Path(model.artifact_location)
        facts = lasting_facts(training, run, file_digests(source)) | verdicts
        created = client.create_model_version(
            name,
            source=str(source),
            run_id=run.info.run_id,
            tags={**facts, "radsynth.model_id": model.model_id},
            model_id=model.model_id,
        )
        found = _version(created, {})
    for version in (*same, found):
        for key, value in verdicts.items():
            if version.tags.get(key) != value:
                client.set_model_version_tag(name, str(version.version), key, value)
    if not {CHAMPION, CHALLENGER} & set(found.aliases):
        client.set_registered_model_alias(name, CHALLENGER, str(found.version))
    return find(root, name, found.version)


def _settle(
    root: Path, challenger: Version, champion: Version | None, decision: Decision, there: list[Version]
) -> None:
    """Write a decision, and what follows from it, in one transaction."""
    from radsynth.tracking.card import card
    from radsynth.tracking.gate import to_tag

    number, aliases, descriptions = challenger.version, {}, {}
    if decision.outcome == "dry_run":
        move(root, challenger.name, tags={number: {"radsynth.dry_run_decision": to_tag(decision)}})
        return
    tags: dict[str, str | None] = {"radsynth.gate": decision.verdict, "radsynth.gate_decision": to_tag(decision)}
    others: dict[int, dict[str, str | None]] = {}
    if decision.outcome == "promoted":
        aliases = {CHAMPION: number}
        if champion and _is_whole(champion):  # else it is no way back
            aliases[PREVIOUS] = champion.version
        if CHALLENGER in challenger.aliases:
            aliases[CHALLENGER] = None
        others = _restored(challenger, there)
        tags["radsynth.card"] = card(challenger, decision)
        descriptions = {number: tags["radsynth.card"][:DESCRIPTION_CHARACTERS]}
    tags |= others.pop(number, {})
    move(root, challenger.name, aliases, others | {number: tags}, descriptions)


def _restored(version: Version, there: list[Version]) -> dict[int, dict[str, str | None]]:
    """Tags by version: what comes back is no longer rolled back, nor is any version with the same weights."""
    return {v.version: {"radsynth.rolled_back": None} for v in there if same_weights(v, version)}


def _write_files(root: Path, name: str) -> None:
    """Decisions and cards as files, from the tags."""
    for version in versions(root, name):
        stem = f"{name}-v{version.version}"
        for tag, ending in (("gate_decision", ""), ("dry_run_decision", "-dry-run")):
            if text := version.tags.get(f"radsynth.{tag}"):
                record, path = json.loads(text), Path(root) / DECISIONS / f"{stem}{ending}.json"
                if not path.is_file() or read_json(path) != record:
                    write_json(path, record)
        if text := version.tags.get("radsynth.card"):
            path = Path(root) / CARDS / f"{stem}.md"
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                with atomic_path(path) as temporary:
                    temporary.write_text(text, encoding="utf-8")


def _aliased(there: list[Version], alias: str) -> Version | None:
    return next((version for version in there if alias in version.aliases), None)


def _training(root: Path, name: str) -> Training:
    stage = known(name)
    found = next((training for training in finished_trainings(root) if training.stage == stage), None)
    if found is None:
        raise RadsynthError(
            f"no finished training of {name}", where=root / "models", next_step=f"run `dvc repro {stage}`"
        )
    return found


def _is_current(root: Path, version: Version) -> bool:
    """Whether a version is that of the finished training in the checkout."""
    try:
        there = [training for training in finished_trainings(root) if training.stage == known(version.name)]
    except RadsynthError:
        return False
    return any(
        version.tags.get("radsynth.fingerprint") == training.description["fingerprint"]
        and version.tags.get("radsynth.trained") == training.trained_digest()
        for training in there
    )


def _published(client: MlflowClient, experiment: str, training: Training) -> tuple[Run, LoggedModel]:
    """Run and logged model of a published training."""
    (run,) = client.search_runs(
        [experiment],
        f"tags.`radsynth.stage` = '{training.stage}' AND "
        f"tags.`radsynth.fingerprint` = '{training.description['fingerprint']}' AND "
        f"tags.`radsynth.trained` = '{training.trained_digest()}'",
    )
    logged = client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'")
    ready = [model for model in logged if model.status.name == "READY"]
    return run, max(ready, key=lambda model: model.creation_timestamp)


def _logged_anew(
    client: MlflowClient, experiment: str, training: Training, run: Run, damaged: LoggedModel
) -> tuple[Run, LoggedModel]:
    """Run and logged model of a published training, in place of a logged model whose files are damaged or gone."""
    from radsynth.tracking.publish import publish

    # by these two tags `publish` finds a model to be there, and a run to be complete
    client.set_logged_model_tags(damaged.model_id, {"radsynth.code_sha256": "damaged"})
    client.set_tag(run.info.run_id, "radsynth.content", "damaged")
    publish(training.root)
    return _published(client, experiment, training)


def _holds(model: LoggedModel, training: Training) -> bool:
    """Whether a logged model holds what the training wrote."""
    folder = Path(model.artifact_location) / "artifacts" / training.model.name
    return folder.is_dir() and sha256_of(folder) == sha256_of(training.model)


def _is_whole(version: Version) -> bool:
    try:
        _check_files(version)
    except RadsynthError:
        return False
    return True


def _same_result(version: Version, run: Run) -> bool:
    same = ("radsynth.fingerprint", "radsynth.trained")
    return all(version.tags.get(key) == run.data.tags.get(key) for key in same)


def _versions(client: MlflowClient, name: str) -> list[Version]:
    from mlflow.exceptions import MlflowException

    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return []
    found, token = [], None
    while token != "":
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += [_version(entry, aliases) for entry in page]
        token = page.token or ""
    return sorted(found, key=lambda version: version.version)


def _version(entry: ModelVersion, aliases: dict[str, str]) -> Version:
    pointing = tuple(sorted(alias for alias, number in aliases.items() if int(number) == int(entry.version)))
    tags = dict(entry.tags)
    return Version(
        entry.name,
        int(entry.version),
        pointing,
        tags,
        entry.run_id or "",
        tags.get("radsynth.model_id", ""),
        Path(entry.source),
    )


def _check_files(version: Version) -> None:
    recorded = json.loads(version.tags.get("radsynth.files", "{}"))
    if not recorded:
        raise RadsynthError(f"{version} has no record of its files", next_step=f"run `radsynth promote {version.name}`")
    there = file_digests(version.source)
    wrong = [
        *(f"{name} is missing" for name in recorded if name not in there),
        *(
            f"{name} is not the file that was registered"
            for name in recorded
            if there.get(name, recorded[name]) != recorded[name]
        ),
        *(f"{name} was added" for name in there if name not in recorded),
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise RadsynthError(
            f"{version}: {wrong[0]}{more}",
            where=version.source,
            next_step=f"use another version, or restore the file; `radsynth rollback {version.name}` goes back",
        )
