"""Training on a cache behind a URL."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from signprep.cache_builder import open_cache
from signprep.cache_builder.options import StreamOptions
from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import cli
from signprep.training.data import epoch_order as order
from signprep.training.data.epoch_order import GROWTH, streaming_order
from signprep.training.loader import ClipLoader
from tests.cache_builder.made_caches import clip_of, make_cache
from tests.cache_builder.servers import web_server

SMALL = ["--num-frames", "2", "--crop-size", "32", "--epochs", "2", "--batch-size", "4"]


def test_a_streamed_epoch_has_every_position_once_and_differs_by_seed_and_epoch() -> None:
    positions = np.flatnonzero(np.arange(1000) % 7)
    epochs = [streaming_order(positions, 8, seed=seed, epoch=epoch) for seed in range(2) for epoch in range(2)]
    assert all(np.array_equal(np.sort(epoch), positions) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    np.testing.assert_array_equal(epochs[1], streaming_order(positions, 8, seed=0, epoch=1))


def test_a_streamed_epoch_never_needs_shards_much_faster_than_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "WINDOW_CLIPS", 2000)
    found = streaming_order(np.arange(20_000), 50, seed=0, epoch=0)
    firsts = np.sort(np.unique(found // 50, return_index=True)[1])
    needed = 50 * np.arange(1, len(firsts) + 1)
    rate = np.log(1 + GROWTH) / GROWTH
    assert (needed * rate <= firsts + 150).all()
    # and yet a batch in the middle is of many shards, all of them within the window
    middle = found[10_000:10_032] // 50
    assert len(np.unique(middle)) > 15
    last = [
        np.flatnonzero(found // 50 == shard)[-1] - first
        for shard, first in zip(found[firsts] // 50, firsts, strict=True)
    ]
    assert max(last) < 2 * 2000


def test_a_loader_of_a_url_gives_every_clip_and_goes_on_where_it_was(tmp_path: Path) -> None:
    make_cache(tmp_path / "served" / "a.zarr", range(60))
    with web_server(tmp_path / "served") as server:
        cache = open_cache(f"{server.url}/a.zarr", stream=StreamOptions(folder=tmp_path / "stream"))
        options = {"cache": cache, "positions": cache.positions(), "batch_size": 7, "shuffle": True}
        loader = ClipLoader(**options)  # type: ignore[arg-type]
        whole = [batch.positions.tolist() for _ in range(2) for batch in loader]
        numbers = [int(name, 16) for name in cache.index["video_hash"].to_pylist()]
        for batch in loader:
            for clip, position in zip(batch.clips.numpy(), batch.positions.tolist(), strict=True):
                np.testing.assert_array_equal(clip, clip_of(numbers[position]))
        assert sorted(p for batch in whole[: len(loader)] for p in batch) == list(range(60))
        loader.close()
        before = ClipLoader(**options)  # type: ignore[arg-type]
        for _, _batch in zip(range(3), before, strict=False):
            pass
        state = before.state_dict()
        before.close()
    # the rest of the epoch keeps its order on a copy of the cache in a folder
    pulled = open_cache(tmp_path / "served" / "a.zarr")
    after = ClipLoader(cache=pulled, positions=pulled.positions(), batch_size=7, shuffle=True)
    after.load_state_dict(state)
    assert [batch.positions.tolist() for batch in after] == whole[3 : len(after)]
    after.close()


def test_train_takes_a_url(cache: Cache, tmp_path: Path) -> None:
    with web_server(cache.path.parent) as server:
        url = f"{server.url}/{cache.path.name}"
        command = ["train", "--cache", url, *SMALL, "--stream-dir", str(tmp_path / "stream")]
        result = CliRunner().invoke(cli, [*command, "--output-dir", str(tmp_path), "--experiment-name", "run"])
        assert result.exit_code == 0, (result.output, result.exception)
        assert f"cache: {url}" in result.stderr and "best validation accuracy" in result.stdout
        refused = CliRunner().invoke(cli, [*command, "--stream-gb", "0.000001", "--output-dir", str(tmp_path / "b")])
        assert refused.exit_code == 1 and "--stream-gb gives it" in str(refused.exception)
        asked = ["evaluate", "--checkpoint", str(tmp_path / "run" / "checkpoints" / "best.ckpt"), "--cache", url]
        evaluated = CliRunner().invoke(cli, [*asked, "--stream-dir", str(tmp_path / "stream")])
        assert evaluated.exit_code == 0, (evaluated.output, evaluated.exception)
