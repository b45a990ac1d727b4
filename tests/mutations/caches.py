"""Damaged caches: each clip is refused, or is that of its segment, under its own gloss; `verify` tells of damage."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from signprep.cache_builder import open_cache
from signprep.cache_builder.format.layout import INDEX, MANIFEST, CacheObject, parse_manifest
from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import CacheError, SignprepError
from tests.cache_builder.made_caches import make_cache
from tests.mutations.command import run_command
from tests.mutations.damage import damaged, damaged_json

NUM_CLIPS = 12


def make(folder: Path) -> None:
    """Write two caches of the same settings whose clips differ: one is damaged, parts of the other get into it."""
    make_cache(folder / "a.zarr", range(NUM_CLIPS), clips_per_shard=4)
    make_cache(folder / "b.zarr", range(100, 100 + NUM_CLIPS), clips_per_shard=4)


def check(folder: Path, rng: random.Random, work: Path) -> str:
    """Damage a copy of a cache and read all of it; return what became of it."""
    root = work / "a.zarr"
    shutil.copytree(folder / "a.zarr", root)
    before = contents(folder / "a.zarr")
    deed = rng.choice((damage_file, damage_file, damage_json, swap_files, take_of_other, delete_file, rewrite_index))
    done = deed(root, folder / "b.zarr", rng)
    is_signed = rng.random() < 0.5 and deed in (damage_json, rewrite_index) and sign(root)
    after = contents(root)
    if after == before:
        return "unchanged"
    whole = open_cache(folder / "a.zarr")
    try:
        cache = open_cache(root)
        index = cache.index
    except SignprepError as error:
        assert str(root) in str(error), f"{done}: an error does not name its cache: {error}"
        return "refused"
    num_refused = compare(cache, index, [whole, open_cache(folder / "b.zarr")], done)
    if not is_signed and any(before.get(name) != after.get(name) for name in (MANIFEST, *whole.manifest.objects)):
        code, _, _ = run_command("verify", str(root))
        assert code == 1 or after == contents(folder / "b.zarr"), f"{done}: verify finds nothing"
    return "read in part" if num_refused else "read"


def contents(root: Path) -> dict[str, bytes]:
    """Return the bytes of all files below a folder."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def compare(cache: Cache, index: pa.Table, whole: list[Cache], done: str) -> int:
    """Fail where a clip is another one than that of its segment, or has another gloss; return how many are refused."""
    rows = {row["segment_id"]: (one, row) for one in whole for row in one.index.to_pylist()}
    num_refused = 0
    for position in range(len(cache)):
        row = index.slice(position, 1).to_pylist()[0]
        try:
            clip = cache.read([position])[0]
        except (CacheError, IndexError) as error:
            assert str(error), f"{done}: an error says nothing"
            num_refused += 1
            continue
        assert row["segment_id"] in rows, f"{done}: position {position} is read under an unknown segment"
        source, true = rows[row["segment_id"]]
        assert np.array_equal(clip, source.read([true["position"]])[0]), f"{done}: another clip at position {position}"
        if row["label"] is not None:
            gloss = cache.vocabulary.glosses[row["label"]]
            assert gloss == true["gloss"] == row["gloss"], f"{done}: position {position} is read as {gloss}"
    return num_refused


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def damage_file(root: Path, other: Path, rng: random.Random) -> str:
    """Damage the bytes of any file."""
    path = rng.choice(_files(root))
    path.write_bytes(damaged(path.read_bytes(), rng))
    return f"damaged {path.name}"


def damage_json(root: Path, other: Path, rng: random.Random) -> str:
    """Change a value of a JSON file."""
    path = rng.choice([path for path in _files(root) if path.suffix == ".json"])
    document = damaged_json(json.loads(path.read_bytes()), rng)
    path.write_bytes(json.dumps(document).encode("utf-8", "surrogatepass"))
    return f"changed a value of {path.relative_to(root)}"


def swap_files(root: Path, other: Path, rng: random.Random) -> str:
    """Exchange two shards."""
    one, two = rng.sample([path for path in _files(root) if "c" in path.relative_to(root).parts], 2)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    return f"exchanged {one.relative_to(root)} and {two.relative_to(root)}"


def take_of_other(root: Path, other: Path, rng: random.Random) -> str:
    """Copy some files of the other cache over this one's, as a copy that was stopped does."""
    names = [path.relative_to(other) for path in _files(other)]
    taken = rng.sample(names, rng.randint(1, len(names) - 1))
    for name in taken:
        shutil.copyfile(other / name, root / name)
    return f"took {', '.join(map(str, taken))} of another cache"


def delete_file(root: Path, other: Path, rng: random.Random) -> str:
    """Delete one file."""
    path = rng.choice(_files(root))
    path.unlink()
    return f"deleted {path.relative_to(root)}"


def rewrite_index(root: Path, other: Path, rng: random.Random) -> str:
    """Write the index by another program, with a column or its rows in another order, or without a column."""
    path = root / INDEX
    table = pq.read_table(path)
    name = rng.choice(table.column_names)
    order = list(range(table.num_rows))
    rng.shuffle(order)
    match rng.randrange(3):
        case 0:
            table = table.take(order)
            done = "all rows"
        case 1:
            table = table.set_column(table.column_names.index(name), table.schema.field(name), table[name].take(order))
            done = f"column {name}"
        case _:
            table = table.drop_columns([name])
            done = f"without {name}"
    pq.write_table(table, path)
    return f"index rewritten: {done}"


def sign(root: Path) -> bool:
    """Write a manifest that fits the files as they are now, as somebody hostile would; return False if it cannot."""
    try:
        manifest = parse_manifest((root / MANIFEST).read_bytes(), root)
    except SignprepError:
        return False
    objects = {name: CacheObject.of(root / name) for name in manifest.objects if (root / name).exists()}
    type(manifest)(objects=objects, plan_digest=manifest.plan_digest).write(root)
    return True
