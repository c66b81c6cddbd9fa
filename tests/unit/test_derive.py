"""derive: the same words give the same names, everywhere and for ever."""

from __future__ import annotations

import hashlib

from hypothesis import given, strategies as st

from containernet import derive


@given(st.text())
def test_a_number_is_the_sha_256_of_its_word(word: str) -> None:
    """Whichever module of Python's works it out: what hosts have derived already must not change."""
    assert derive.number(word) == int(hashlib.sha256(word.encode()).hexdigest(), 16)
