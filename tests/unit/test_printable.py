"""What others have named, on our terminals and in our logs."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, strategies as st

from containernet.cli.table import show_table
from containernet.printable import printable
from containernet.serving import _Logfmt


@given(st.text())
def test_nothing_moves_a_cursor_or_begins_a_line(text: str) -> None:
    """Whatever it is; and what can be printed is left as it is."""
    line = printable(text)
    assert line.isprintable()
    assert line == text or not text.isprintable()
    line.encode()  # half of a surrogate pair would have no UTF-8


def test_what_it_looks_like(capsys: pytest.CaptureFixture[str]) -> None:
    """In a table and in a log, as Python would write it; letters of all languages are letters."""
    show_table(("NODE",), [["k\u00f6ln\x1b[2J\u202e\nhost1"]])
    assert capsys.readouterr().out.splitlines()[-1].strip() == r"k\xf6ln\x1b[2J\u202e\nhost1".replace(
        r"\xf6", "\u00f6"
    )
    record = logging.makeLogRecord({"msg": 'set aside: "a\x1b]0;b\nlevel=error"', "levelname": "INFO"})
    assert _Logfmt().format(record).endswith(r'msg="set aside: \"a\x1b]0;b\nlevel=error\""')
