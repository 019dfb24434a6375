"""Composing `conf/` into `params.yaml`, as `dvc exp run -S` does it.

References
----------
https://dvc.org/doc/user-guide/experiment-management/hydra-composition
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from radsynth import settings
from radsynth.errors import RadsynthError
from radsynth.files import atomic_path


def compose(overrides: Sequence[str] = (), folder: str | Path = "conf") -> str:
    """The composed settings as the YAML text of `params.yaml`.

    Parameters
    ----------
    overrides
        ``group=option`` (profile, chest, brain) or ``section.setting=value``, in Hydra's grammar.
    folder
        The folder that holds `config.yaml` and its groups.

    Raises
    ------
    RadsynthError
        Where the folder has no configuration, or an override is unknown or cannot be read.
    """
    folder = Path(folder).resolve()
    if not (folder / "config.yaml").is_file():
        raise RadsynthError("no configuration", where=folder, expected="config.yaml", next_step="run in the repository")
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(folder), version_base=None):
            composed = hydra_compose(config_name="config", overrides=list(overrides))
        OmegaConf.resolve(composed)
    except (HydraException, OmegaConfBaseException) as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise RadsynthError(f"cannot compose the settings: {first}", **_help(error, folder, overrides)) from None
    return OmegaConf.to_yaml(composed)


def configure(
    overrides: Sequence[str] = (), folder: str | Path = "conf", target: str | Path = "params.yaml"
) -> dict[str, tuple[Any, Any]]:
    """Compose, check and write the settings; nothing is written where they are not valid.

    Returns
    -------
    The settings that changed: dotted name -> (old value, new value), None where there is no such value.

    Raises
    ------
    RadsynthError
        Where the settings are not valid, or `target` cannot be written.
    """
    target = Path(target)
    text = compose(overrides, folder)
    before = _flat(_read(target))
    try:
        with atomic_path(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
            try:
                settings.load(temporary)
            except RadsynthError as error:
                raise RadsynthError(error.what, got=error.got, where="the composed settings") from None
    except (FileExistsError, NotADirectoryError):
        raise RadsynthError("lies below a file", where=target, expected="the name of a file in a folder") from None
    except OSError as error:
        raise RadsynthError(f"cannot be written ({error.strerror})", where=target) from None
    after = _flat(yaml.safe_load(text))
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value} if prefix else {}
    return {
        name: leaf
        for key, child in value.items()
        for name, leaf in _flat(child, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def _quoted(override: str) -> str:
    """The override as it is typed in a shell with its value in quotes, as Hydra asks of many signs; "" where it is."""
    name, _, value = override.partition("=")
    return "" if not value or set(value) & set("\"'\\\n") else f"'{name}=\"{value}\"'"


def _help(error: Exception, folder: Path, overrides: Sequence[str]) -> dict[str, Any]:
    from hydra.errors import OverrideParseException

    for override in overrides:
        group, equals, option = override.partition("=")
        choices = sorted(path.stem for path in (folder / group).glob("*.yaml")) if group.isidentifier() else []
        if equals and choices and option not in choices:
            return {"got": repr(override), "expected": f"{group}=" + " | ".join(choices)}
    if isinstance(error, OverrideParseException) and (quoted := _quoted(error.override)):
        return {"got": error.override, "next_step": f"quote the value: {quoted}"}
    return {"got": " ".join(overrides) or None, "expected": "group=option or section.setting=value, as in conf/"}
