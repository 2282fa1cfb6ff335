"""CRC-32C against published vectors and TensorBoard's own implementation."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c as tensorboard_crc32c

from conformance.evidence import crc32c


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_vectors_of_rfc_3720(data: bytes, expected: int) -> None:
    assert crc32c.checksum(data) == expected
    assert crc32c.checksums([data] * 50) == expected.to_bytes(4, "little") * 50


@pytest.mark.parametrize("exponents", crc32c._SPARSE_MULTIPLES)
def test_each_sparse_multiple_is_divided_by_the_polynomial(exponents: tuple[int, ...]) -> None:
    polynomial = 1 << 32 | int(f"{crc32c._POLYNOMIAL:032b}"[::-1], 2)
    assert polynomial == 0x11EDC6F41
    remainder = sum(1 << exponent for exponent in exponents)
    while remainder.bit_length() >= polynomial.bit_length():
        remainder ^= polynomial << remainder.bit_length() - polynomial.bit_length()
    assert remainder == 0


@given(st.binary(max_size=300))
def test_a_short_message_agrees_with_tensorboard(data: bytes) -> None:
    assert crc32c.checksum(data) == tensorboard_crc32c(data)


@given(st.integers(0, 20_000), st.integers(0, 2**32))
def test_a_folded_message_agrees_with_tensorboard(size: int, seed: int) -> None:
    data = Random(seed).randbytes(size)  # noqa: S311  (no secret)
    assert crc32c.checksum(data) == tensorboard_crc32c(data)


@pytest.mark.parametrize("size", [95, 96, 97, 696, 697, 698, 3267, 3268, 6534, 13068, 1 << 16])
def test_sizes_at_which_the_folding_changes(size: int) -> None:
    data = bytes((7 * i * i + i) >> 3 & 0xFF for i in range(size))
    assert crc32c.checksum(data) == tensorboard_crc32c(data)


def test_a_message_of_several_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crc32c, "_PIECE", 1000)
    data = bytes(i * i & 0xFF for i in range(3456))
    assert crc32c.checksum(data) == tensorboard_crc32c(data)


@given(st.binary(max_size=400), st.integers(0, 400))
def test_a_checksum_can_be_gone_on_with(data: bytes, cut: int) -> None:
    assert crc32c.checksum(data[cut:], crc32c.checksum(data[:cut])) == crc32c.checksum(data)


@given(st.integers(0, 80), st.integers(0, 60), st.randoms(use_true_random=False))
def test_messages_of_one_length_at_once_are_as_one_by_one(
    width: int, count: int, random: Random
) -> None:
    messages = [random.randbytes(width) for _ in range(count)]
    assert crc32c.checksums(messages) == _one_by_one(messages)


@given(st.lists(st.binary(max_size=90), max_size=60))
def test_messages_of_many_lengths_at_once_are_as_one_by_one(messages: list[bytes]) -> None:
    assert crc32c.checksums(messages) == _one_by_one(messages)


def test_messages_too_wide_for_columns() -> None:
    messages = [bytes([i]) * 1500 for i in range(20)]
    assert crc32c.checksums(messages) == _one_by_one(messages)


def test_every_flipped_bit_changes_the_checksum() -> None:
    message = b"rewards/iter" * 3
    flipped = [
        (int.from_bytes(message, "little") ^ 1 << bit).to_bytes(len(message), "little")
        for bit in range(8 * len(message))
    ]
    checksums = crc32c.checksums([*flipped, message])
    assert len({checksums[i : i + 4] for i in range(0, len(checksums), 4)}) == len(flipped) + 1


def _one_by_one(messages: list[bytes]) -> bytes:
    return b"".join(tensorboard_crc32c(message).to_bytes(4, "little") for message in messages)
