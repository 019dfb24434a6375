"""Using what was promoted: `generate`, `translate`, `explain` and `dataset`, from Python as from the command line.

>>> from radsynth.use import generate
>>> pictures = generate(report="Large left pleural effusion.", n=4, seed=7)
>>> pictures[0].pixels.shape
(256, 256)

They are loaded when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radsynth.use.explanations import explain
    from radsynth.use.head_ct import translate
    from radsynth.use.pictures import generate
    from radsynth.use.training_set import dataset

__all__ = ["dataset", "explain", "generate", "translate"]

# a module of the same name as its function would take its place here once it is imported
_ROOMS = {"dataset": "training_set", "explain": "explanations", "generate": "pictures", "translate": "head_ct"}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
