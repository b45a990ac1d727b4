"""The data-set card of an export, README.md as hubs show it, and the same in JSON: what is there, and where from."""

import json
import math
from collections.abc import Iterable
from html import escape
from importlib.metadata import version
from typing import Any

import numpy as np

from signprep.cache_builder.export.clips import Export
from signprep.cache_builder.export.video_folder import METADATA, class_folders
from signprep.cache_builder.options import LEROBOT, VIDEO_FOLDER, WEBDATASET
from signprep.cache_builder.report.pictures import LOSSLESS
from signprep.cache_builder.report.statistics import cache_name, clip_shape
from signprep.pipeline.runtime.text import counted, printable

SUMMARY = "signprep.json"
LISTED_CLASSES = 200
"""Classes that the card lists; the summary has all."""
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_VIDEOS = "MP4 files that play at the speed of signing"
_LAYOUTS = {
    WEBDATASET: """`SPLIT-000000.tar`, ...: a clip is three files of one name, its position in the cache: {clip}, its
label (`.cls`) and what is known of it (`.json`). The clips of a split are mixed.

```python
import webdataset as wds

clips = wds.WebDataset("{first}").decode().to_tuple("{ending}", "cls", "json")
```""",
    VIDEO_FOLDER: f"""`SPLIT/CLASS/POSITION.mp4`: {_VIDEOS}. `SPLIT/{METADATA}` has a
row a clip, with its label and its class as it is written: a folder is called otherwise where none can be called so.
Classes without clips in a split have empty folders there, so that folders are numbered alike in all splits.

```python
from datasets import load_dataset

clips = load_dataset("videofolder", data_dir="FOLDER")
```""",
    LEROBOT: """LeRobot's format 3.0: an episode is a clip, its task the gloss. `label` is the number of the class,
`seconds` the time of a frame in its video; `timestamp` counts frames at a rate that all clips share. {clip}

```python
from lerobot.datasets.lerobot_dataset import LeRobotDataset

frames = LeRobotDataset("NAME", root="FOLDER")
```""",
}


def summary(export: Export) -> dict[str, Any]:
    """Return what is in an export as plain JSON types."""
    cache, labels = export.cache, export.cache.labels()
    counts = {
        split: np.bincount(labels[positions], minlength=len(cache.vocabulary))
        for split, positions in export.splits.items()
    }
    glosses = cache.vocabulary.glosses
    classes: list[dict[str, Any]] = [
        {"label": label, "gloss": gloss, "clips": {split: int(count[label]) for split, count in counts.items()}}
        for label, gloss in enumerate(glosses)
    ]
    if export.options.to == VIDEO_FOLDER:
        classes = [known | {"folder": name} for known, name in zip(classes, class_folders(glosses), strict=True)]
    fidelity = export.fidelity.to_dict() if export.is_video else None
    return {
        "signprep_export": export.options.to,
        "signprep_version": version("signprep"),
        "cache": cache_name(cache),
        "cache_fingerprint": cache.fingerprint,
        "clip_spec": cache.clip_spec.to_dict(),
        "crf": export.options.crf if export.is_video else None,
        "fidelity": fidelity,
        "quality": _quality(export),
        "license": export.options.license,
        "clips": {split: len(positions) for split, positions in export.splits.items()},
        "classes": classes,
        "provenance": dict(cache.info.provenance),
    }


def _quality(export: Export) -> str:
    """Return in words how near what is written is to what the cache stores."""
    if not export.is_video:
        stored = export.cache.clip_spec.pixels == "rgb24" or export.cache.clip_spec.landmarks
        return "arrays, as stored" if stored else "arrays of RGB, converted by FFmpeg from the cache's I420"
    crf, found = export.options.crf, export.fidelity
    tried = f"measured on {counted(found.num_clips, 'clip')}"
    if math.isinf(found.psnr_db):
        return f"H.264, lossless: every pixel is the cache's, {tried}"
    named = "lossless" if crf == LOSSLESS else f"rate factor {crf}"
    return (
        f"H.264, {named}: PSNR {found.psnr_db:.1f} dB against the cache, largest error {found.largest_error} of 255, "
        f"{tried}"
    )


def card(export: Export, document: dict[str, Any]) -> str:
    """Return README.md: a head that hubs read, then what people have to know."""
    options, num_clips = export.options, len(export.positions)
    size = next((name for most, name in _SIZES if num_clips < most), "n>1M")
    head = [
        "---",
        f"pretty_name: {json.dumps(printable(document['cache'].removesuffix('.zarr')), ensure_ascii=False)}",
        "task_categories: [video-classification]",
        "tags: [sign-language, signprep]",
        f"size_categories: [{size}]",
        "---",
    ]
    used = [known for known in document["classes"] if any(known["clips"].values())]
    most_first = sorted(used, key=lambda known: (-sum(known["clips"].values()), known["label"]))
    rest = f"\n\n... and {len(used) - LISTED_CLASSES:,} more, all in `{SUMMARY}`." if len(used) > LISTED_CLASSES else ""
    splits = list(export.splits)
    licence = options.license or "not known. Ask those who filmed the videos before you pass them on."
    parts = [
        f"# {_text(document['cache'].removesuffix('.zarr'))}",
        f"{counted(num_clips, 'clip')} of {counted(len(used), 'sign')}, each cut out of a video as it was labelled.",
        _table(("split", "clips", "classes"), [_split_row(document, split) for split in splits]),
        "## Clips",
        f"{clip_shape(export.cache.clip_spec)}. {document['quality']}.{_caution(export)}",
        "## Files",
        _layout(export),
        f"`{SUMMARY}` has all classes, counts and settings for programs.",
        "## Classes",
        _table(
            ("label", "class", *splits),
            (
                (str(known["label"]), _text(known["gloss"]), *(f"{known['clips'][split]:,}" for split in splits))
                for known in most_first[:LISTED_CLASSES]
            ),
        )
        + rest,
        "## Licence",
        f"Licence of the videos: {_text(licence)}",
        "## How it was made",
        f"`signprep export-dataset --to {options.to}`, signprep {document['signprep_version']}, from a cache with the "
        f"fingerprint `{document['cache_fingerprint']}`.",
    ]
    return "\n".join(head) + "\n\n" + "\n\n".join(parts) + "\n"


def _caution(export: Export) -> str:
    if export.is_video and export.options.crf == LOSSLESS:
        return " Browsers and decoders in hardware play no lossless H.264; FFmpeg does."
    return ""


def _layout(export: Export) -> str:
    clip = "H.264 (`.mp4`)" if export.is_video else "an array (`.npy`)"
    if export.options.to == LEROBOT:
        clip = "The clips are videos." if export.is_video else "The points are `observation.state`."
    first = f"{next(iter(export.splits))}-000000.tar"
    text = _LAYOUTS[export.options.to]
    return (
        text.replace("{clip}", clip).replace("{first}", first).replace("{ending}", "mp4" if export.is_video else "npy")
    )


def _split_row(document: dict[str, Any], split: str) -> tuple[str, ...]:
    num_classes = sum(known["clips"][split] > 0 for known in document["classes"])
    return split, f"{document['clips'][split]:,}", f"{num_classes:,}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(name: str) -> str:
    """Return a name from the data as Markdown that says nothing else."""
    marked = escape(printable(name), quote=False)
    for sign in "\\|`*_[]#":
        marked = marked.replace(sign, f"\\{sign}")
    return marked
