"""A cache whose parts contradict each other is refused by all who read it, whatever its hashes say.

Each case forges one value, and the hashes and checksums with it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.format.index import LATER_COLUMNS, SCHEMA, index_table, parquet_bytes
from signprep.cache_builder.format.layout import ARRAY_METADATA, GROUP_METADATA, INDEX, MANIFEST, CacheManifest
from signprep.cache_builder.format.layout import _checksum as checksum_of
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.remote.partial_pull import Selection, pull_selection
from signprep.cache_builder.remote.pull import pull
from signprep.cache_builder.remote.push import push
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CacheError
from tests.cache_builder.made_caches import clip_of, make_cache, rewritten

FAILED_NUMBER = 5
"""Its row is at position 4."""


@pytest.fixture
def made(tmp_path: Path) -> Cache:
    return make_cache(tmp_path / "made.zarr", range(10), failed=frozenset({FAILED_NUMBER}))


def refusals(root: Path, tmp_path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each way to read a cache with whether it refuses to; an error is one line that names the cache."""
    ways = {
        "open": lambda: open_cache(root),
        "index": lambda: open_cache(root).index,
        "verify": lambda: verify_cache(root),
        "pull": lambda: pull(root, tmp_path / "mine.zarr"),
        "pull a part": lambda: pull_selection(root, tmp_path / "part.zarr", Selection(splits=("train",))),
        "push": lambda: push(root, f"memory://{tmp_path}/theirs.zarr"),
    }
    for name, way in ways.items():
        try:
            found = way()
        except CacheError as error:
            assert root.name in str(error) and "\n" not in str(error), (name, error)
            yield name, True
        else:
            yield name, name == "verify" and bool(found)
    assert not [path for path in tmp_path.glob("*/manifest.json") if path.parent != root]


def assert_refused(root: Path, tmp_path: Path, *, but: tuple[str, ...] = ()) -> None:
    assert dict(refusals(root, tmp_path)) == {
        name: name not in but for name in ("open", "index", "verify", "pull", "pull a part", "push")
    }


ATTRIBUTES: list[tuple[str, Any]] = [
    *(("format_version", value) for value in (0, 2, "1", True, 1.0, None)),
    *(("codec", value) for value in ("pickle", "", None, 7, "none", "plain", ["lz4hc"])),
    *(
        ("glosses", value)
        for value in (["a", "a"], [1, None], ["왼쪽", "오른쪽", None], "왼쪽위", [], ["왼쪽"], None, {})
    ),
    *(
        ("glosses", value)
        for value in (["오른쪽", "왼쪽", "위"], ["왼쪽", "오른쪽", "\ud800"], ["왼쪽", ["오른쪽"], "위"])
    ),
    *(("num_positions", value) for value in (12.5, 10.0, 0, -1, 9, 11, 2**40, "10", True, None, [10])),
    *(("clips_per_shard", value) for value in (4.5, 4.0, 0, -4, 3, 5, 10**12, "4", True, None)),
    *(("provenance", value) for value in (None, 5, [], "x", {}, {"decoder": "pyav"}, {"preprocessing_version": 1})),
    *(
        ("provenance", {"decoder": "pyav", "preprocessing_version": 1} | changed)
        for changed in ({"preprocessing_version": "1"}, {"decoder": None}, {"versions": {"av": 1}}, {"versions": []})
    ),
    *(("clip_spec", value) for value in (None, [], {}, "x")),
    *(("num_frames", value) for value in (0, 3, 5, 8, 4.0, "4", True, None, 10**9)),
    *(("size", value) for value in (0, 28, 36, 64, 32.0, "32", None)),
    *(("crop", value) for value in ("", "left", "0,0,2,2", "1,1,0,0", 7, None)),
    *(("pixels", value) for value in ("rgb24", "bgr24", "", None, 3)),
    *(("span", value) for value in ("clip", -1, 0, 10**6, True, None, [1])),
    *(("margin_seconds", value) for value in (-1, 61, "0", True, None)),
    *(("landmarks", value) for value in ("", "aihub", "files", 1, True, [], {})),
    *(("keypoint_size", value) for value in ("", "1920x1080", None, [1, 2])),
    *(("another", value) for value in (1,)),
]
SPEC_FIELDS = (
    "num_frames",
    "size",
    "crop",
    "pixels",
    "span",
    "margin_seconds",
    "landmarks",
    "keypoint_size",
    "another",
)


@pytest.mark.parametrize(("name", "value"), ATTRIBUTES)
def test_an_attribute_that_is_wrong(made: Cache, tmp_path: Path, name: str, value: object) -> None:
    document = json.loads((made.path / GROUP_METADATA).read_text())
    fields = document["attributes"]["signprep"]
    (fields["clip_spec"] if name in SPEC_FIELDS else fields)[name] = value
    rewritten(made, GROUP_METADATA, json.dumps(document).encode())
    assert_refused(made.path, tmp_path)


@pytest.mark.parametrize(
    "name", ["format_version", "codec", "glosses", "num_positions", "clips_per_shard", "clip_spec"]
)
def test_an_attribute_that_is_missing(made: Cache, tmp_path: Path, name: str) -> None:
    document = json.loads((made.path / GROUP_METADATA).read_text())
    del document["attributes"]["signprep"][name]
    rewritten(made, GROUP_METADATA, json.dumps(document).encode())
    assert_refused(made.path, tmp_path)


@pytest.mark.parametrize("name", [name for name in SPEC_FIELDS[:-1] if name in ClipSpec().to_dict()])
def test_a_clip_spec_that_is_not_whole(made: Cache, tmp_path: Path, name: str) -> None:
    document = json.loads((made.path / GROUP_METADATA).read_text())
    del document["attributes"]["signprep"]["clip_spec"][name]
    rewritten(made, GROUP_METADATA, json.dumps(document).encode())
    assert_refused(made.path, tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"{" * 100_000, b'{"attributes": 1}', b'{"attributes": []}', b"\xff"]
)
def test_group_metadata_that_are_none(made: Cache, tmp_path: Path, data: bytes) -> None:
    rewritten(made, GROUP_METADATA, data)
    assert_refused(made.path, tmp_path)


ARRAYS: list[tuple[tuple[str | int, ...], Any]] = [
    *((("shape",), value) for value in ([11, 4, 48, 32], [10, 4, 48], [10, 4, 48, 33], None, 7)),
    *((("data_type",), value) for value in ("float32", None)),
    (("chunk_grid", "configuration", "chunk_shape"), [5, 4, 48, 32]),
    (("codecs", 0, "configuration", "chunk_shape"), [2, 4, 48, 32]),
    *((("codecs", 0, "configuration", "codecs"), value) for value in ([], [{"name": "bytes"}], None)),
    (("codecs", 0, "configuration", "codecs", 0, "name"), "transpose"),
    *((("codecs",), value) for value in ([], None, [{"name": "bytes"}])),
]


@pytest.mark.parametrize(("place", "value"), ARRAYS)
def test_an_array_that_is_not_the_groups(
    made: Cache, tmp_path: Path, place: tuple[str | int, ...], value: object
) -> None:
    document = json.loads((made.path / ARRAY_METADATA).read_text())
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    rewritten(made, ARRAY_METADATA, json.dumps(document).encode())
    assert_refused(made.path, tmp_path)


MANIFESTS: list[tuple[str, Any]] = [
    *(("format_version", value) for value in (0, 2, "1", None)),
    *(("plan_digest", value) for value in (None, 7, ["x"])),
    *(("objects", value) for value in (None, {}, [], 7)),
    *(("num_bytes", value) for value in (0, -1, 1, 10**12, 2.5, "12", True, None)),
    *(("hash", value) for value in ("", "0" * 32, "0" * 31, "../x", 7, None)),
    *(("blake3", value) for value in ("", "0" * 32, "0" * 31, "../x", 7)),
    ("blake3 of others", "clips/c/9/0/0/0"),
    *(("blake3 of all", value) for value in (7, None, [])),
    *(
        ("path", value)
        for value in ("../x", "/x", "x.py", "clips/c/9/0/0/0/0", "clips/c/0/0/0/0/0", "clips/c/00/0/0/0/0")
    ),
    *(("without", value) for value in (INDEX, GROUP_METADATA, ARRAY_METADATA)),
    ("more", {"note": 1}),
]


@pytest.mark.parametrize("path", [INDEX, GROUP_METADATA])
@pytest.mark.parametrize(("name", "value"), MANIFESTS)
def test_a_manifest_that_is_wrong(made: Cache, tmp_path: Path, path: str, name: str, value: Any) -> None:
    document = json.loads((made.path / MANIFEST).read_text())
    entry = document["objects"][path]
    match name:
        case "num_bytes" | "hash":
            entry[name] = value
        case "blake3":
            document["blake3"][path] = value
        case "blake3 of others":
            document["blake3"][value] = document["blake3"].pop(path)
        case "blake3 of all":
            document["blake3"] = value
        case "path":
            document["objects"][value] = document["objects"]["clips/c/0/0/0/0"]
        case "without":
            del document["objects"][value]
        case "more":
            entry |= value
        case _:
            document[name] = value
    document["checksum"] = checksum_of({key: value for key, value in document.items() if key != "checksum"})
    (made.path / MANIFEST).write_text(json.dumps(document))
    assert_refused(made.path, tmp_path)


def test_a_manifest_without_a_shard_and_one_that_is_of_another_size(made: Cache, tmp_path: Path) -> None:
    whole = (made.path / MANIFEST).read_bytes()
    for change in ("without", 1, 10**6):
        objects = dict(made.manifest.objects)
        if change == "without":
            del objects["clips/c/1/0/0/0"]
        else:
            objects["clips/c/1/0/0/0"] = type(objects[INDEX])(num_bytes=change, hash="0" * 32)
        CacheManifest(objects=objects, plan_digest="made").write(made.path)
        # It opens, and gives every clip but those.
        assert_refused(made.path, tmp_path, but=("open",))
        cache = open_cache(made.path)
        assert np.array_equal(cache.read([0])[0], clip_of(0))
        with pytest.raises(CacheError, match="clips/c/1/0/0/0"):
            cache.read([5])
        (made.path / MANIFEST).write_bytes(whole)


@pytest.mark.parametrize("field", ["fingerprint", "another"])
def test_what_nobody_reads_in_a_manifest_does_no_harm(made: Cache, field: str) -> None:
    document = json.loads((made.path / MANIFEST).read_text())
    document[field] = "x"
    document["checksum"] = checksum_of({key: value for key, value in document.items() if key != "checksum"})
    (made.path / MANIFEST).write_text(json.dumps(document))
    assert open_cache(made.path).fingerprint == made.fingerprint
    assert verify_cache(made.path)


OPENING = [
    *(("position", value) for value in (0, 4, -1, 10, 2**40)),
    *(("gloss", value) for value in ("오른쪽", "없음", "")),
    *(("label", value) for value in (10**9, -1, -2, None, 1, 3, -(2**31))),
    *(("split", value) for value in ("training", "validation", "", "TRAIN")),
    *(("status", value) for value in ("done", "", "OK", "missing")),
]
WHOLE = [
    *(("start_seconds", value) for value in (float("nan"), float("inf"), -1.0, 0.8, 2.0)),
    *(("end_seconds", value) for value in (float("nan"), float("inf"), 0.2, -1.0)),
    *(("clip_start_seconds", value) for value in (None, float("nan"), -0.5, 0.8)),
    *(("clip_end_seconds", value) for value in (None, float("nan"), float("inf"), 0.2)),
    *(("sampled_seconds", value) for value in (None, [], [0.3] * 3, [0.3] * 5, [0.3, None, 0.4, 0.5])),
    *(("sampled_seconds", [0.3, value, 0.4, 0.5]) for value in (float("nan"), float("-inf"))),
    *(("stored_bytes", value) for value in (0, -1, 4, 7, 2**40)),
    *(("status", value) for value in ("failed",)),
    *(("seen_fraction", value) for value in ([], [0.5] * 2, [0.5, None, 0.5], [0.5, 1.5, 0.5], [-0.5, 0.5, 0.5])),
    *(("box", value) for value in ([], [1.0] * 4, [0.0, 0.0, None, 1.0], [0.0, 0.0, float("inf"), 1.0])),
    *(("crop_box", value) for value in ([], [0.1] * 4, [0.0, 0.0, 0.5], [0.0, 0.0, 0.5, 1.5], [0.0, None, 0.5, 1.0])),
]


def forged_row(cache: Cache, row: int, **columns: object) -> None:
    rows = cache.index.to_pylist()
    rows[row] |= columns
    rewritten(cache, INDEX, parquet_bytes(index_table(rows), compression="zstd", write_page_checksum=True))


@pytest.mark.parametrize(("name", "value"), OPENING)
def test_a_row_that_tells_a_wrong_label_split_or_place(made: Cache, tmp_path: Path, name: str, value: object) -> None:
    forged_row(made, 1, **{name: value})
    assert_refused(made.path, tmp_path)
    with pytest.raises(CacheError, match=rf"index\.parquet has .*{name} .* in row 1; "):
        open_cache(made.path)


@pytest.mark.parametrize(("name", "value"), WHOLE)
def test_a_row_that_tells_wrong_times_or_sizes_opens_and_is_refused_where_it_is_read(
    made: Cache, tmp_path: Path, name: str, value: object
) -> None:
    forged_row(made, 1, **{name: value})
    assert_refused(made.path, tmp_path, but=("open",))


@pytest.mark.parametrize(
    ("name", "value"), [("stored_bytes", 9), ("status", "ok"), ("gloss", "없음"), ("label", None), ("label", 7)]
)
def test_a_row_of_a_clip_that_failed_is_checked_as_others(
    made: Cache, tmp_path: Path, name: str, value: object
) -> None:
    position = made.index["status"].to_pylist().index("failed")
    forged_row(made, position, **{name: value})
    assert_refused(made.path, tmp_path, but=() if name in ("gloss", "label") else ("open",))


def test_a_checksum_of_another_clip_is_refused_where_the_clip_is_read(made: Cache, tmp_path: Path) -> None:
    forged_row(made, 1, stored_crc32c=7)
    assert [fault.message for fault in verify_cache(made.path, deep=True)]
    with pytest.raises(CacheError, match="clip 1 "):
        open_cache(made.path).read([1])
    with pytest.raises(CacheError, match="clip 1 "):
        pull_selection(made.path, tmp_path / "part.zarr", Selection(splits=("train",)))


def test_a_removed_row_may_say_of_its_label_what_it_likes(made: Cache) -> None:
    for label in (None, 10**9, -7):
        forged_row(made, 1, status="removed", label=label, gloss="없음")
        cache = open_cache(made.path)
        assert 1 not in cache.positions() and verify_cache(made.path, deep=True) == []


@pytest.mark.parametrize("name", [name for name in SCHEMA.names if name not in LATER_COLUMNS])
def test_a_column_that_is_missing_doubled_or_of_another_type(made: Cache, tmp_path: Path, name: str) -> None:
    index = made.index
    place = index.column_names.index(name)
    tables = [
        index.drop_columns([name]),
        index.rename_columns({name: name.upper()}),
        index.append_column(name, index[name]),
        index.set_column(place, name, pa.nulls(len(made), pa.int16())),
    ]
    for table in tables:
        rewritten(made, INDEX, parquet_bytes(table))
        with pytest.raises(CacheError, match=rf"is not this cache's index: {name} is .*, expected"):
            open_cache(made.path)
        assert verify_cache(made.path)
        with pytest.raises(CacheError):
            pull(made.path, tmp_path / "mine.zarr")


@pytest.mark.parametrize("name", [field.name for field in SCHEMA if not field.nullable])
def test_a_null_where_none_may_be(made: Cache, tmp_path: Path, name: str) -> None:
    table = made.index
    values = [None, *table[name].to_pylist()[1:]]
    field = pa.field(name, SCHEMA.field(name).type)
    rewritten(
        made,
        INDEX,
        parquet_bytes(table.set_column(table.column_names.index(name), field, pa.array(values, field.type))),
    )
    is_light = name in ("position", "gloss", "status")
    assert_refused(made.path, tmp_path, but=() if is_light else ("open",))


def test_rows_too_few_too_many_and_in_another_order(made: Cache, tmp_path: Path) -> None:
    index = made.index
    reversed_rows = index.take(pa.array(range(9, -1, -1)))
    for table in (index.slice(0, 9), pa.concat_tables([index, index.slice(0, 1)]), reversed_rows, index.slice(0, 0)):
        rewritten(made, INDEX, parquet_bytes(table))
        assert_refused(made.path, tmp_path)


def test_columns_of_ones_own_do_no_harm(made: Cache) -> None:
    rewritten(made, INDEX, parquet_bytes(made.index.append_column("note", pa.array(["x"] * len(made)))))
    cache = open_cache(made.path)
    assert np.array_equal(cache.read([0])[0], clip_of(0)) and verify_cache(made.path, deep=True) == []
    assert cache.index.column_names == SCHEMA.names
