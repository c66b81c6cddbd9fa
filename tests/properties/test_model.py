"""What prefixes have in common, held against `ipaddress`."""

from __future__ import annotations

from hypothesis import given, strategies as st

from containernet.model import Prefix, contains, overlaps
from containernet.numbers import plain_prefix


@st.composite
def prefixes(draw: st.DrawFn) -> Prefix:
    """Return one of few prefixes, so that two of them are often nested."""
    version = draw(st.sampled_from((4, 6)))
    bits = 32 if version == 4 else 128
    length = draw(st.integers(0, 3) | st.integers(bits - 3, bits))
    number = draw(st.sampled_from((0, (1 << bits) - 1)) | st.integers(0, (1 << bits) - 1))
    return plain_prefix(version, number >> (bits - length) << (bits - length), length)


@given(prefixes(), prefixes())
def test_prefixes_overlap_as_ipaddress_says(one: Prefix, other: Prefix) -> None:
    """Whichever is the shorter; and never where the families differ."""
    same = one.version == other.version
    assert overlaps(one, other) == overlaps(other, one) == (same and one.overlaps(other))
    assert contains(one, other) == (same and other.subnet_of(one))  # type: ignore[arg-type]
