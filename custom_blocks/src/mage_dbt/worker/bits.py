"""Sets of small numbers, kept as the bits of one large number: joining two takes one step."""

from __future__ import annotations

from collections.abc import Iterator


def bits_of(number: int) -> Iterator[int]:
    """The places of the bits that are set, lowest first."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
