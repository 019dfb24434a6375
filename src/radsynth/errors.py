"""Errors that a user can act on: one line that says what happened, where, what was got and what was expected."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable


class RadsynthError(Exception):
    """A user's problem, told in one line.

    Parameters
    ----------
    what
        What happened, in plain words.
    where
        The file, study or subject concerned.
    got, expected
        What was found, and what would have been right.
    next_step
        What to do now.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        got: object = None,
        expected: object = None,
        next_step: str | None = None,
    ) -> None:
        self.what, self.where, self.got, self.expected, self.next_step = what, where, got, expected, next_step
        parts = [f"{where}: {what}" if where is not None else what]
        if got is not None:
            parts.append(f"got {got}")
        if expected is not None:
            parts.append(f"expected {expected}")
        if next_step is not None:
            parts.append(next_step)
        super().__init__(" ".join("; ".join(parts).split()))


class InputRefused(RadsynthError):
    """An input file that must not be used: refused outright.

    `reason` is a short stable code in snake_case (`xml_doctype`, `png_truncated`, `nifti_affine_singular`), the
    one that `radsynth check --json` prints and that the quarantine tables hold.
    """

    verdict = "refused"

    def __init__(self, reason: str, what: str, **details: object) -> None:
        super().__init__(what, **details)  # type: ignore[arg-type]
        self.reason = reason


class InputQuarantined(InputRefused):
    """An input that is whole and harmless but cannot be used as it is (an empty report, a non-finite voxel)."""

    verdict = "quarantined"


class NonFiniteLoss(RadsynthError):
    """A loss became infinite or not a number; the step is stopped before the update."""


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Wrap a program's entry so that a `RadsynthError` becomes one line on stderr and its exit code."""

    @functools.wraps(main)
    def wrapped(*args: object, **kwargs: object) -> None:
        try:
            main(*args, **kwargs)
        except RadsynthError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(error.exit_code) from None

    return wrapped
