"""Errors that users read."""

from __future__ import annotations

import pytest

from radsynth.errors import InputQuarantined, InputRefused, NonFiniteLoss, RadsynthError, one_line_errors


def test_an_error_says_where_what_got_expected_and_the_next_step_in_one_line():
    error = RadsynthError("bad\nsize", where="a.png", got="3 x\n3", expected="256 x 256", next_step="make it larger")
    assert str(error) == "a.png: bad size; got 3 x 3; expected 256 x 256; make it larger"


def test_a_value_of_zero_is_told_and_not_left_out():
    assert str(RadsynthError("too few", got=0)) == "too few; got 0"


def test_refusals_and_quarantines_carry_a_reason_and_a_verdict():
    refused, quarantined = InputRefused("xml_doctype", "a DOCTYPE"), InputQuarantined("report_empty", "no text")
    assert (refused.verdict, refused.reason) == ("refused", "xml_doctype")
    assert (quarantined.verdict, quarantined.reason) == ("quarantined", "report_empty")
    assert isinstance(quarantined, RadsynthError)


def test_a_user_error_ends_the_program_with_one_line_and_status_2(capsys):
    @one_line_errors
    def main():
        raise NonFiniteLoss("the loss is not a number", where="step 7")

    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: step 7: the loss is not a number\n"


def test_a_bug_keeps_its_traceback():
    @one_line_errors
    def main():
        raise KeyError("bug")

    with pytest.raises(KeyError):
        main()
