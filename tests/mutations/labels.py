"""Damaged labels, tables and archives: what is beside them is read as before, and nothing but a clear error comes."""

import json
import random
import shutil
import zipfile
from pathlib import Path

from signprep.pipeline.datasets.annotations import DatasetOptions, Segment
from signprep.pipeline.datasets.files.data_root import Problem
from signprep.pipeline.datasets.read import iterate_segments
from signprep.pipeline.errors import SignprepError
from tests.conftest import write_label
from tests.mutations.command import run_command, strict_json
from tests.mutations.damage import damaged, damaged_json

GLOSSES = ("왼쪽", "오른쪽", "어쩔 수 없다", "3.1절", "위", "아래")
ENCODINGS = ("utf-8", "utf-8-sig", "cp949", "utf-16")


def make(folder: Path) -> None:
    """Write a data root of labels and empty videos, half of them in a zip, and a table beside each of its videos."""
    root = folder / "root"
    for number, gloss in enumerate(GLOSSES):
        name = f"NIA_SL_WORD{number + 1:04d}_REAL01_F"
        (root / "video").mkdir(parents=True, exist_ok=True)
        (root / "video" / f"{name}.mp4").write_bytes(b"")
        write_label(root / "label" / f"{name}_morpheme.json", [(0.5, 1.25, gloss), (2, 3.5, gloss)])
    with zipfile.ZipFile(root / "[라벨]more.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(10, 13):
            name = f"NIA_SL_WORD{number:04d}_REAL01_F"
            sign = {"start": 0, "end": 1, "attributes": [{"name": "물"}]}
            document = {"metaData": {"name": f"{name}.mp4"}, "data": [sign]}
            archive.writestr(f"label/{name}_morpheme.json", json.dumps(document, ensure_ascii=False))
            archive.writestr(f"video/{name}.mp4", b"")
    rows = [
        f'video/NIA_SL_WORD{number + 1:04d}_REAL01_F.mp4,{number},{number + 1.5},"{gloss}",train'
        for number, gloss in enumerate(GLOSSES)
    ]
    (root / "table.csv").write_text("\n".join(["video,start,end,gloss,split", *rows]) + "\n", encoding="utf-8")


def check(folder: Path, rng: random.Random, work: Path) -> str:
    """Damage one file of the data root, read it and scan it; return what became of it."""
    root = work / "root"
    shutil.copytree(folder / "root", root)
    path = rng.choice(sorted(path for path in root.rglob("*") if path.suffix in (".json", ".csv", ".zip")))
    data = path.read_bytes()
    if path.suffix == ".json" and rng.random() < 0.6:
        text = json.dumps(damaged_json(json.loads(data), rng), ensure_ascii=rng.random() < 0.5)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    elif path.suffix == ".csv" and rng.random() < 0.3:
        path.write_bytes(damaged(data.decode().encode(rng.choice(ENCODINGS)), rng))
    else:
        path.write_bytes(damaged(data, rng))
    target = path if path.suffix == ".csv" else root
    problems: list[Problem] = []
    try:
        found = list(iterate_segments(target, DatasetOptions(), problems.append))
    except SignprepError as error:
        assert target.name in str(error), f"an error does not name its file: {error}"
        assert target == path, f"one damaged file costs all the others: {error}"
        found = []
    json.dumps([segment.to_dict() for segment in found], allow_nan=False).encode()
    if target == root:
        of_others = [s for s in segments_of(folder / "root") if not is_from(s, path)]
        assert [s for s in found if not is_from(s, path)] == of_others, "other files' segments are not what they were"
    code, out, errors = run_command("scan", "--data-root", str(target), "--json", "--probe", "none", "--workers", "1")
    assert code == 0 or (code == 1 and target == path), f"scan ends with {code}: {errors}"
    if code == 0:
        strict_json(out)
    return "refused" if not found else "read with problems" if problems else "read"


def is_from(segment: Segment, path: Path) -> bool:
    """Return True if a segment may come from a file, or count as its duplicate."""
    base_name = path.name.removesuffix("_morpheme.json")
    return base_name in segment.video if path.suffix == ".json" else ".zip!" in segment.video


def segments_of(root: Path) -> list[Segment]:
    """Return the segments of the whole data root."""
    return list(iterate_segments(root, DatasetOptions(), lambda problem: None))
