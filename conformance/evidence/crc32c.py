"""CRC-32C (Castagnoli) with nothing but the standard library, fast enough for whole event files."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_POLYNOMIAL = 0x82F63B78  # RFC 3720, section 12.1; bits reflected: bit 31 is the coefficient of x^0
_ONES = 0xFFFFFFFF

# Multiples of the polynomial with few terms, as the exponents of their terms: each such sum of
# powers of x is 0 modulo the polynomial, so its highest power may be replaced by the others.
# Squaring a multiple doubles its exponents and gives another one. So these fold a message of any
# length by a few shifts and XORs of big integers, at hundreds of megabytes a second. Found by
# search; a test divides them.
_SPARSE_MULTIPLES = (
    (6777, 484, 100, 0),
    (437, 177, 176, 171, 58, 0),
)
_SHORTEST_FOLD = 96  # bytes; below, the table alone is as fast
_FEWEST_ROWS = 8  # fewer messages are faster one by one
_WIDEST_ROW = 1024  # bytes; longer messages are faster folded, and need no further tables
_PIECE = 1 << 20  # bytes folded at once, to bound the memory


def _table() -> tuple[int, ...]:
    table = [0] * 256
    remainder = 1
    for power in (128, 64, 32, 16, 8, 4, 2, 1):
        remainder = remainder >> 1 ^ (_POLYNOMIAL if remainder & 1 else 0)
        for other in range(0, 256, 2 * power):
            table[other + power] = table[other] ^ remainder
    return tuple(table)


_TABLE = _table()
# _PLANES[distance][plane][value]: byte `plane` of what a byte of this value adds to the remainder
# when `distance` bytes of the message follow it. Grown on demand.
_PLANES = [tuple(bytes([entry >> 8 * plane & 0xFF for entry in _TABLE]) for plane in range(4))]


def checksum(data: bytes, crc: int = 0) -> int:
    """Compute the CRC-32C of some bytes, or go on with one.

    Args:
        data: the bytes.
        crc: the CRC-32C of all that came before them.

    Returns:
        The CRC-32C of everything so far, as in RFC 3720, section 12.1 and appendix B.4.
    """
    state = crc ^ _ONES
    for start in range(0, len(data), _PIECE):
        piece = data[start : start + _PIECE]
        if len(piece) >= _SHORTEST_FOLD:
            piece, state = _folded(piece, state), 0
        for byte in piece:
            state = _TABLE[(state ^ byte) & 0xFF] ^ state >> 8
    return state ^ _ONES


def _folded(data: bytes, state: int) -> bytes:
    """Return a short message whose remainder from state 0 is that of `data` from `state`."""
    # The lowest bit of the first byte is the highest power of x: power i is bit (size - 1 - i).
    size = 8 * len(data)
    message = int.from_bytes(data, "little") ^ state
    for highest, second, *others in _SPARSE_MULTIPLES:
        least = (
            2 * highest - second
        )  # bits, so that what replaces the folded powers fits into the rest
        for doublings in range((size // least).bit_length() - 1, -1, -1):
            folded = (highest - second) << doublings
            while size >= least << doublings:
                head = message & ((1 << folded) - 1)
                message = message >> folded ^ head
                for exponent in others:
                    message ^= head << ((second - exponent) << doublings)
                size -= folded
    padding = -size % 8  # zeros before a message do not change its remainder from state 0
    return (message << padding).to_bytes((size + padding) // 8, "little")


def checksums(messages: Sequence[bytes]) -> bytes:
    """Compute the CRC-32C of many short messages at once, column by column.

    The remainder is linear: each byte adds four bytes of its own, which follow from its value and
    its distance from the message's end. So one `bytes.translate` of a column (one byte of each
    message) does the work for all messages, and XOR of big integers adds the columns up. Best for
    messages of one length, or nearly so.

    Args:
        messages: the messages.

    Returns:
        Four bytes a message, in their order: its CRC-32C, little-endian.
    """
    lengths = [len(message) for message in messages]
    count, width = len(lengths), max(lengths, default=0)
    if count < _FEWEST_ROWS or width > _WIDEST_ROW:
        return b"".join([checksum(message).to_bytes(4, "little") for message in messages])
    if min(lengths) == width:
        rows = b"".join(messages)
        packed = _of_zeros(width) * count
    else:  # zeros before a message add nothing
        rows = b"".join([message.rjust(width, b"\0") for message in messages])
        packed = b"".join([_of_zeros(length) for length in lengths])
    sums = [int.from_bytes(packed[plane::4], "little") for plane in range(4)]
    while len(_PLANES) < width:
        _PLANES.append(_one_byte_further(_PLANES[-1]))
    for place in range(width):
        column = rows[place::width]
        for plane, table in enumerate(_PLANES[width - 1 - place]):
            sums[plane] ^= int.from_bytes(column.translate(table), "little")
    result = bytearray(4 * count)
    for plane in range(4):
        result[plane::4] = sums[plane].to_bytes(count, "little")
    return bytes(result)


@lru_cache(maxsize=_WIDEST_ROW + 1)
def _of_zeros(length: int) -> bytes:
    """Return the CRC-32C of `length` zero bytes: what the length alone adds to a checksum."""
    return checksum(bytes(length)).to_bytes(4, "little")


def _one_byte_further(planes: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the tables for the place one byte further from the end than that of `planes`."""
    lowest, *higher = planes
    return tuple(
        _xor(lowest.translate(table), plane)
        for table, plane in zip(_PLANES[0], (*higher, bytes(256)), strict=True)
    )


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "little") ^ int.from_bytes(right, "little")).to_bytes(
        len(left), "little"
    )
