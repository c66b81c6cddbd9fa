"""The Huffman code of header fields (RFC 7541 s5.2 and Appendix B), read only. Pure.

The code is canonical: among the octets with codes of one length the codes count up, and so they do from one
length to the next. So the lengths say everything.
"""

from __future__ import annotations

import functools

EOS = 256
# fmt: off
# RFC 7541 Appendix B: the length of each octet's code in bits, and of EOS.
LENGTHS = (
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28,
    28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7,
    8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19,
    13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13,
    28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21,
    22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23,
    22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25,
    25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
)
# fmt: on


def decode(text: bytes) -> bytes:
    """Return what `text` stands for.

    Raises:
        ValueError: it is not so encoded.
    """
    symbols = _symbols()
    found, code = bytearray(), 1
    for octet in text:
        for shift in range(7, -1, -1):
            code = code << 1 | (octet >> shift & 1)
            if (symbol := symbols.get(code)) is not None:
                if symbol == EOS:  # RFC 7541 s5.2: never inside
                    raise ValueError("EOS in a Huffman-encoded string")
                found.append(symbol)
                code = 1
    padding = code.bit_length() - 1
    if padding > 7 or code != (2 << padding) - 1:  # RFC 7541 s5.2: less than an octet, all of ones
        raise ValueError("a Huffman-encoded string with wrong padding")
    return bytes(found)


@functools.cache
def _symbols() -> dict[int, int]:
    """Return the octet for each code, with a 1 before the code: so its length is in it."""
    found, code, length = {}, 0, 0
    for symbol in sorted(range(len(LENGTHS)), key=lambda symbol: (LENGTHS[symbol], symbol)):
        code <<= LENGTHS[symbol] - length
        length = LENGTHS[symbol]
        found[1 << length | code] = symbol
        code += 1
    return found
