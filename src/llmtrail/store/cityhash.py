"""CityHash of version 1.0.2 as ClickHouse computes it: 64 bits for ids, 128 for blocks. Pure; knows no table.

In a statement a number costs next to nothing; ten hashes as functions of texts took the engine 0.4 ms to understand.
"""

import struct
from typing import Final

_MASK = (1 << 64) - 1
_K0, _K1, _K2, _K3 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F, 0xC949D7C7509E6557
_MUL = 0x9DDFEA08EB382D69
_BLOCK = 64

_Pair = tuple[int, int]


def city_hash64(text: bytes) -> int:
    """Return what ClickHouse's `cityHash64` returns for one string."""
    size = len(text)
    if size > _BLOCK:
        return _long(text, size)
    if size > _BLOCK // 2:
        return _up_to_64(text, size)
    if size > _BLOCK // 4:
        return _up_to_32(text, size)
    return _up_to_16(text, size)


def _up_to_16(text: bytes, size: int) -> int:
    if size > 8:
        a, b = _word(text, 0), _word(text, size - 8)
        return _of_two(a, _turned(b + size & _MASK, size)) ^ b
    if size >= 4:
        return _of_two(size + (_half(text, 0) << 3), _half(text, size - 4))
    if size:
        y, z = text[0] + (text[size >> 1] << 8), size + (text[-1] << 2)
        return _mixed((y * _K2 ^ z * _K3) & _MASK) * _K2 & _MASK
    return _K2


def _word(text: bytes, place: int) -> int:
    return int.from_bytes(text[place : place + 8], "little")


def _half(text: bytes, place: int) -> int:
    return int.from_bytes(text[place : place + 4], "little")


def _turned(value: int, bits: int) -> int:
    """Rotate a 64-bit number to the right by 1 to 63 bits."""
    return value >> bits | value << 64 - bits & _MASK


def _mixed(value: int) -> int:
    return value ^ value >> 47


def _of_two(u: int, v: int) -> int:
    a = _mixed((u ^ v) * _MUL & _MASK)
    return _mixed((v ^ a) * _MUL & _MASK) * _MUL & _MASK


def _up_to_32(text: bytes, size: int) -> int:
    a, b = _word(text, 0) * _K1 & _MASK, _word(text, 8)
    c, d = _word(text, size - 8) * _K2 & _MASK, _word(text, size - 16) * _K0
    u = _turned(a - b & _MASK, 43) + _turned(c, 30) + d
    return _of_two(u & _MASK, a + _turned(b ^ _K3, 20) - c + size & _MASK)


def _up_to_64(text: bytes, size: int) -> int:
    first, last = _word(text, 16), _word(text, size - 16)
    v = _seen(text, 0, _word(text, 0) + (size + last) * _K0, _word(text, 24))
    w = _seen(text, size - 32, first + _word(text, size - 32), _word(text, size - 8))
    mixed = _mixed((v[0] + w[1]) * _K2 + (w[0] + v[1]) * _K0 & _MASK)
    return _mixed(mixed * _K0 + v[1] & _MASK) * _K2 & _MASK


def _seen(text: bytes, place: int, start: int, end: int) -> _Pair:
    """Fold 32 bytes whose first word is in `start` already, and whose last one is `end`."""
    a = start & _MASK
    b, c = _turned(a + end & _MASK, 52), _turned(a, 37)
    a = a + _word(text, place + 8) & _MASK
    c += _turned(a, 7)
    a = a + _word(text, place + 16) & _MASK
    return a + end & _MASK, b + _turned(a, 31) + c & _MASK


def _long(text: bytes, size: int) -> int:
    x = _word(text, 0)
    y = _word(text, size - 16) ^ _K1
    z = _word(text, size - 56) ^ _K0
    v = _weak(text, size - 64, size, y)
    w = _weak(text, size - 32, size * _K1, _K0)
    z += _mixed(v[1]) * _K1
    x = _turned(z + x & _MASK, 39) * _K1
    y = _turned(y, 33) * _K1
    for place in range(0, size - 1 & ~63, _BLOCK):
        x = _turned(x + y + v[0] + _word(text, place + 16) & _MASK, 37) * _K1 & _MASK ^ w[1]
        y = _turned(y + v[1] + _word(text, place + 48) & _MASK, 42) * _K1 & _MASK ^ v[0]
        z = _turned((z ^ w[0]) & _MASK, 33)
        v = _weak(text, place, v[1] * _K1, x + w[0])
        w = _weak(text, place + 32, z + w[1], y)
        z, x = x, z
    u = _of_two(v[0], w[0]) + _mixed(y & _MASK) * _K1 + z
    return _of_two(u & _MASK, _of_two(v[1], w[1]) + x & _MASK)


def _weak(text: bytes, place: int, a: int, b: int) -> _Pair:
    """Fold 32 bytes into two seeds."""
    last = _word(text, place + 24)
    a = a + _word(text, place) & _MASK
    b = _turned(b + a + last & _MASK, 21)
    c = a
    a = a + _word(text, place + 8) + _word(text, place + 16) & _MASK
    b = b + _turned(a, 44) & _MASK
    return a + last & _MASK, b + c & _MASK


# Words of one round of the long hash.
_ROUND: Final = struct.Struct("<16Q")


def city_hash128(text: bytes) -> bytes:
    """Return the 16 bytes that ClickHouse writes before a compressed block: CityHash128 of version 1.0.2.

    Some 8 MB a second: a result is compressed first, and only what is left is hashed.
    """
    size = len(text)
    if size >= 16:
        pair = _seeded(text, 16, _word(text, 0) ^ _K3, _word(text, 8))
    elif size >= 8:
        pair = _seeded(b"", 0, _word(text, 0) ^ size * _K0 & _MASK, _word(text, size - 8) ^ _K1)
    else:
        pair = _seeded(text, 0, _K0, _K1)
    return pair[0].to_bytes(8, "little") + pair[1].to_bytes(8, "little")


def _seeded(text: bytes, start: int, low: int, high: int) -> _Pair:
    if len(text) - start < 128:
        return _murmur(text[start:], low, high)
    return _long128(text, start, low, high)


def _murmur(text: bytes, a: int, b: int) -> _Pair:
    size = len(text)
    if size <= 16:
        a = _mixed(a * _K1 & _MASK) * _K1 & _MASK
        c = b * _K1 + _up_to_16(text, size) & _MASK
        d = _mixed(a + (_word(text, 0) if size >= 8 else c) & _MASK)
    else:
        c = _of_two(_word(text, size - 8) + _K1 & _MASK, a)
        d = _of_two(b + size & _MASK, c + _word(text, size - 16) & _MASK)
        a = a + d & _MASK
        for place in range(0, size - 16, 16):
            a = (a ^ _mixed(_word(text, place) * _K1 & _MASK) * _K1 & _MASK) * _K1 & _MASK
            b ^= a
            c = (c ^ _mixed(_word(text, place + 8) * _K1 & _MASK) * _K1 & _MASK) * _K1 & _MASK
            d ^= c
    a, b = _of_two(a, c), _of_two(d, b)
    return a ^ b, _of_two(b, a)


def _long128(text: bytes, start: int, x: int, y: int) -> _Pair:
    size = len(text) - start
    z = size * _K1 & _MASK
    v0 = _turned(y ^ _K1, 49) * _K1 + _word(text, start) & _MASK
    v1 = _turned(v0, 42) * _K1 + _word(text, start + 8) & _MASK
    w0 = _turned(y + z & _MASK, 35) * _K1 + x & _MASK
    w1 = _turned(x + _word(text, start + 88) & _MASK, 53) * _K1 & _MASK
    rounds = size // 128
    for place in range(start, start + rounds * 128, 128):
        words = _ROUND.unpack_from(text, place)
        for half in (words[:8], words[8:]):
            x = _turned(x + y + v0 + half[2] & _MASK, 37) * _K1 & _MASK ^ w1
            y = _turned(y + v1 + half[6] & _MASK, 42) * _K1 & _MASK ^ v0
            z = _turned(z ^ w0, 33)
            v0, v1 = _weak_words(half[:4], v1 * _K1, x + w0)
            w0, w1 = _weak_words(half[4:], z + w1, y)
            z, x = x, z
    return _end128(text, size - rounds * 128, (x, y, z), (v0, v1, w0, w1))


def _weak_words(words: tuple[int, ...], a: int, b: int) -> _Pair:
    """Fold four words into two seeds."""
    a = a + words[0] & _MASK
    b = _turned(b + a + words[3] & _MASK, 21)
    c = a
    a = a + words[1] + words[2] & _MASK
    return a + words[3] & _MASK, b + _turned(a, 44) + c & _MASK


def _end128(text: bytes, left: int, xyz: tuple[int, int, int], vw: tuple[int, int, int, int]) -> _Pair:
    x, y, z = xyz
    v0, v1, w0, w1 = vw
    y = y + _turned(w0, 37) * _K0 + z & _MASK
    x = x + _turned(v0 + z & _MASK, 49) * _K0 & _MASK
    done = 0
    while done < left:
        done += 32
        place = len(text) - done
        y = _turned(y - x & _MASK, 42) * _K0 + v1 & _MASK
        w0 = w0 + _word(text, place + 16) & _MASK
        x = _turned(x, 49) * _K0 + w0 & _MASK
        w0 = w0 + v0 & _MASK
        v0, v1 = _weak(text, place, v0, v1)
    x, y = _of_two(x, v0), _of_two(y, w0)
    return _of_two(x + v1 & _MASK, w1) + y & _MASK, _of_two(x + w1 & _MASK, y + v1 & _MASK)
