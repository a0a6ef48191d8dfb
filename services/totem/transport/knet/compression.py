"""Compression of frames before they are cut, if that makes them smaller. Each packet names its codec.

A receiver accepts every codec that it has, whatever codec it sends with. lz4 and zstd need the packages lz4 and
zstandard; lzo2 is not supported. Decompression is bounded: a frame has at most 64 KiB.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from services.totem.transport.knet.format import FRAME_BYTES_MAX

NUMBERS = {"none": 0, "zlib": 1, "lz4": 2, "lz4hc": 3, "lzo2": 4, "lzma": 5, "bzip2": 6, "zstd": 7}
"""Codec numbers in packets, by `knet_compression_model`."""

NAMES = {number: name for name, number in NUMBERS.items()}

LZMA_MEMORY_BYTES_MAX = 64 * 1024 * 1024
"""Memory that the lzma decoder may use: preset 9 needs that much, and a packet could ask for more."""


class Unpackable(Exception):  # noqa: N818 - named for the bytes
    """The data cannot be decompressed. The text is the reason to count."""


def compressor(name: str, level: int) -> Callable[[bytes], bytes] | None:
    """A function that compresses frames with this codec; None if its package is not installed. Level 0: the codec's
    default."""
    if name == "zlib":
        return lambda frame: zlib.compress(frame, level or -1)
    if name == "bzip2":
        return lambda frame: bz2.compress(frame, level or 9)
    if name == "lzma":
        return lambda frame: lzma.compress(frame, preset=level or 6)
    if name in ("lz4", "lz4hc") and (block := _module("lz4.block")) is not None:
        if name == "lz4":
            acceleration = max(level, 1)
            return lambda frame: bytes(block.compress(frame, mode="fast", acceleration=acceleration, store_size=False))
        return lambda frame: bytes(
            block.compress(frame, mode="high_compression", compression=level or 9, store_size=False)
        )
    if name == "zstd" and (zstd := _module("zstandard")) is not None:
        made = zstd.ZstdCompressor(level=level or 3)
        return lambda frame: bytes(made.compress(frame))
    return None


def decompress(number: int, data: bytes) -> bytes:
    """The frame. Raises `Unpackable`."""
    name = NAMES.get(number)
    unpack = _DECOMPRESSORS.get(name) if name is not None else None
    if unpack is None:
        raise Unpackable("compression_unknown")
    try:
        frame = unpack(data)
    except Unpackable:
        raise
    except ModuleNotFoundError:
        raise Unpackable(f"compression_{name}_not_installed") from None
    except Exception:  # each library has its own exceptions, and all mean the same
        raise Unpackable("compression_broken") from None
    if len(frame) > FRAME_BYTES_MAX:
        raise Unpackable("compression_too_large")
    return frame


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def _zlib(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, FRAME_BYTES_MAX + 1)


def _bzip2(data: bytes) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, FRAME_BYTES_MAX + 1)


def _lzma(data: bytes) -> bytes:
    return lzma.LZMADecompressor(memlimit=LZMA_MEMORY_BYTES_MAX).decompress(data, FRAME_BYTES_MAX + 1)


def _lz4(data: bytes) -> bytes:
    block = importlib.import_module("lz4.block")
    return bytes(block.decompress(data, uncompressed_size=FRAME_BYTES_MAX))


def _zstd(data: bytes) -> bytes:
    zstd = importlib.import_module("zstandard")
    # Without a size in the header, decompression would have no bound.
    if not 0 <= zstd.frame_content_size(data) <= FRAME_BYTES_MAX:
        raise Unpackable("compression_too_large")
    return bytes(zstd.ZstdDecompressor().decompressobj().decompress(data))


_DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": _zlib, "lz4": _lz4, "lz4hc": _lz4, "lzma": _lzma, "bzip2": _bzip2, "zstd": _zstd,
}  # fmt: skip
