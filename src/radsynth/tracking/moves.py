"""Moving aliases, with the tags and descriptions that belong to the move, in one transaction.

MLflow's client sets one alias a call: killed between `champion` and `previous`, the registry would be in neither the
old nor the new state, and a promoted version could lack the decision that promoted it. Its SQL store keeps each of them
as a row of one database, so that one session of the store, committed once, is what is needed.
"""

from __future__ import annotations

from pathlib import Path

from radsynth.tracking.store import store_uri


def move(
    root: str | Path,
    name: str,
    aliases: dict[str, int | None] | None = None,
    tags: dict[int, dict[str, str | None]] | None = None,
    descriptions: dict[int, str] | None = None,
) -> None:
    """Set or remove (None) aliases of a registered model and tags and descriptions of its versions, all or nothing.

    Call under `registry.locked`, after `open_store`.
    """
    from mlflow.store.model_registry.dbmodels.models import (
        SqlModelVersion,
        SqlModelVersionTag,
        SqlRegisteredModelAlias,
    )
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    with SqlAlchemyStore(store_uri(Path(root).resolve())).ManagedSessionMaker(read_only=False) as session:
        rows = {row.version: row for row in session.query(SqlModelVersion).filter_by(name=name)}
        for alias, version in (aliases or {}).items():
            if version is None:
                session.query(SqlRegisteredModelAlias).filter_by(name=name, alias=alias).delete()
            else:
                where = {"workspace": rows[version].workspace, "name": name, "alias": alias}
                session.merge(SqlRegisteredModelAlias(**where, version=version))
        for version, changed in (tags or {}).items():
            for key, value in changed.items():
                if value is None:
                    session.query(SqlModelVersionTag).filter_by(name=name, version=version, key=key).delete()
                else:
                    where = {"workspace": rows[version].workspace, "name": name, "version": version, "key": key}
                    session.merge(SqlModelVersionTag(**where, value=value))
        for version, text in (descriptions or {}).items():
            rows[version].description = text
