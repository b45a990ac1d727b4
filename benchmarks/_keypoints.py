"""A whole build of landmarks from keypoints in a zip, as AIHub delivers them, each in a process of its own.

A clip has 110 to 130 frames, of which its segment shows 32, each a file as large as AIHub's. Files outside the segment
show nobody: they are listed, but never read. CPU seconds are those of the whole command, its start included.
"""

import json
import subprocess
import sys
import zlib
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np

FIRST, NUM_SHOWN = 48, 32
DISTINCT_FRAMES, FRAME_BYTES = 64, 10_000
PARTS = {"pose": 25, "face": 70, "hand_left": 21, "hand_right": 21}
MEASURE = """
import json, resource, sys, time
from benchmarks._report import peak_memory_mib
from signprep.pipeline.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"cpu_seconds": used.ru_utime + used.ru_stime, "peak_mib": peak_memory_mib()}), file=sys.stderr)
"""


def write_keypoints(root: Path, num_clips: int) -> None:
    """Write the zip of keypoints and the zip of labels of so many clips, to an empty folder."""
    frames = [_packed(_frame(number)) for number in range(DISTINCT_FRAMES)]
    nobody = _packed(b'{"people": []}')
    start = FIRST / 30
    data = [{"start": start, "end": start + NUM_SHOWN / 30, "attributes": [{"name": ""}]}]
    with ZipFile(root / "keypoint.zip", "w") as keypoints, ZipFile(root / "morpheme.zip", "w") as labels:
        for clip in range(num_clips):
            name = f"NIA_SL_WORD{clip % 3000 + 1:04d}_REAL{clip // 3000 + 1:02d}_F"
            data[0]["attributes"] = [{"name": f"단어{clip % 3000}"}]
            num_frames = 110 + clip % 21
            document = {"metaData": {"name": f"{name}.mp4", "duration": num_frames / 30}, "data": data}
            labels.writestr(f"{name}_morpheme.json", json.dumps(document, ensure_ascii=False))
            for number in range(num_frames):
                is_shown = FIRST <= number < FIRST + NUM_SHOWN
                packed = frames[(7 * clip + number) % DISTINCT_FRAMES] if is_shown else nobody
                if not number:  # clips of equal sizes are compared by content; real ones hardly ever have such
                    packed = _packed(b'{"people": []}' + b" " * (clip - len(b'{"people": []}') * num_frames + 2000))
                _add(keypoints, f"01/{name}/{name}_{number:012d}_keypoints.json", *packed)


def _frame(number: int) -> bytes:
    """Return a frame in AIHub's form, with points in the picture and in space."""
    random = np.random.default_rng(number)
    person: dict[str, object] = {"person_id": -1}
    for part, count in PARTS.items():
        flat = np.concatenate([random.uniform(200, 1000, (count, 2)), random.random((count, 1))], axis=1)
        deep = np.concatenate([random.normal(0, 0.4, (count, 3)), flat[:, 2:]], axis=1)
        person |= {f"{part}_keypoints_2d": flat.round(3).ravel().tolist()}
        person |= {f"{part}_keypoints_3d": deep.round(6).ravel().tolist()}
    matrix = {"data": " ".join(f"{value:.8f}" for value in random.normal(0, 1000, 12))}
    document = {"version": 1.3, "people": person, "camparam": {"CameraMatrix": matrix}}
    return json.dumps(document).encode().ljust(FRAME_BYTES)


def _packed(data: bytes) -> tuple[bytes, int, int]:
    """Return data packed as in a zip, their size and their CRC-32."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush(), len(data), zlib.crc32(data)


def _add(archive: ZipFile, name: str, packed: bytes, size: int, checksum: int) -> None:
    """Add a file that is packed already, which zipfile would pack again for each clip."""
    info = ZipInfo(name)
    if not archive.filelist:
        archive.writestr(info, b'{"people": []}')  # what is written so has zipfile write the directory at the end
        return
    info.compress_type, info.CRC, info.compress_size, info.file_size = ZIP_DEFLATED, checksum, len(packed), size
    assert archive.fp is not None
    info.header_offset = archive.fp.tell()
    archive.fp.write(info.FileHeader() + packed)
    archive.filelist.append(info)
    archive.start_dir = archive.fp.tell()


def measured(root: Path, out: Path) -> dict[str, float]:
    """Build the cache of a data root in one process of its own; return its CPU seconds and its peak in MiB."""
    words = ["build-cache", "--data-root", str(root), "--out", str(out), "--landmarks", "aihub", "--workers", "1"]
    done = subprocess.run([sys.executable, "-c", MEASURE, *words], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stderr.strip().splitlines()[-1])
    return found
