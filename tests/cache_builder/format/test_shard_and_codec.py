from pathlib import Path

import numpy as np
import pytest

from signprep.cache_builder.format.codec import CODECS, encode_delta, undo_delta
from signprep.cache_builder.format.shard import ShardFile, shard_bytes
from signprep.pipeline.errors import CacheCorruptError


def random_clip(seed: int = 0, shape: tuple[int, ...] = (4, 24, 16)) -> np.ndarray:
    """Noise over a background that stays, as clips are."""
    rng = np.random.default_rng(seed)
    background = rng.integers(0, 256, shape[1:])
    return ((background + rng.integers(0, 3, shape)) % 256).astype(np.uint8)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_delta_is_lossless_with_wrap_around(frames: int) -> None:
    clip = np.random.default_rng(1).integers(0, 256, (frames, 6, 4)).astype(np.uint8)
    delta = encode_delta(clip)
    undo_delta(delta)
    assert np.array_equal(delta, clip)


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_gives_back_the_clip(name: str) -> None:
    clip, out = random_clip(), np.zeros((4, 24, 16), np.uint8)
    CODECS[name].decode(np.frombuffer(CODECS[name].encode(clip), np.uint8), out)
    assert np.array_equal(out, clip)


@pytest.mark.parametrize("name", CODECS)
def test_a_flipped_bit_anywhere_is_found(name: str) -> None:
    chunk = CODECS[name].encode(random_clip())
    out = np.empty((4, 24, 16), np.uint8)
    for place in np.random.default_rng(2).integers(0, len(chunk), 40):
        damaged = bytearray(chunk)
        damaged[place] ^= 1 << int(place) % 8
        with pytest.raises(CacheCorruptError):
            CODECS[name].decode(np.frombuffer(damaged, np.uint8), out)
    for short in (b"", chunk[:3], chunk[:-1]):
        with pytest.raises(CacheCorruptError):
            CODECS[name].decode(np.frombuffer(short, np.uint8), out)


def test_a_shard_gives_back_its_chunks_and_knows_absent_ones(tmp_path: Path) -> None:
    path = tmp_path / "0"
    path.write_bytes(shard_bytes([b"one", None, b"three"], chunks_per_shard=4))
    shard = ShardFile(path, 4)
    chunks = [shard.chunk(place) for place in range(4)]
    assert [None if chunk is None else bytes(chunk) for chunk in chunks] == [b"one", None, b"three", None]


def test_truncated_damaged_and_missing_shards_are_named(tmp_path: Path) -> None:
    path = tmp_path / "0"
    data = shard_bytes([b"x" * 100, b"y" * 100], chunks_per_shard=2)
    for damaged in (data[:20], data[50:], data[:-8] + b"\0" * 8):
        path.write_bytes(damaged)
        with pytest.raises(CacheCorruptError, match=str(path)):
            shard = ShardFile(path, 2)
            shard.chunk(0), shard.chunk(1)
    with pytest.raises(CacheCorruptError, match="missing"):
        ShardFile(tmp_path / "1", 2)
