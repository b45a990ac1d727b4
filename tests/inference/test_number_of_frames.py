"""32 frames, which no model but one was designed for: each is trained for a step on them, evaluated and exported."""

from pathlib import Path

import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.building.run import build_from_annotations
from signprep.cache_builder.options import BuildOptions
from signprep.cache_builder.reader import Cache
from signprep.inference.evaluation.run import evaluate_checkpoint
from signprep.inference.export.run import export_model
from signprep.inference.options import EvaluationOptions, ExportOptions
from signprep.inference.recognizer import load_checkpoint
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import DatasetOptions
from signprep.pipeline.datasets.read import read_data_root
from signprep.training.config import TrainConfig
from signprep.training.model_spec import MODEL_SPECS, model_spec
from signprep.training.run import train

NUM_FRAMES = 32
QUICK = {"landmark_conv"}
"""The others take about three minutes of one core together, most of it for tracing."""
MODELS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MODEL_SPECS]


@pytest.fixture(scope="module")
def caches(signs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cache]:
    """Clips of 32 frames, as pixels and as landmarks."""
    folder, found = tmp_path_factory.mktemp("frames"), {}
    for landmarks in (None, "aihub"):
        spec = ClipSpec(num_frames=NUM_FRAMES, size=32, landmarks=landmarks, keypoint_size="128x96")
        annotations = read_data_root(signs, DatasetOptions(landmarks=landmarks))
        build_from_annotations(annotations, folder / f"{landmarks}.zarr", BuildOptions(clip_spec=spec))
        found[spec.content] = open_cache(folder / f"{landmarks}.zarr")
    return found


@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_32_frames_from_the_cache_to_the_exported_file(
    name: str, caches: dict[str, Cache], tmp_path: Path
) -> None:
    content = MODEL_SPECS[name].content
    cache = caches[content]
    spec = model_spec(name, num_frames=NUM_FRAMES, crop_size=32 if content == "pixels" else None)
    # One step of all clips.
    best = train(cache, spec, TrainConfig(epochs=1, batch_size=64), tmp_path / "run").best_checkpoint
    recognizer = load_checkpoint(best)
    assert recognizer.metadata.model_spec.num_frames == NUM_FRAMES
    document = evaluate_checkpoint(recognizer, best, cache, EvaluationOptions(batch_size=4, num_workers=1))
    assert document["clips"] == len(cache.positions("val")) > 0
    report = export_model(best, tmp_path / "model.pt", ExportOptions(max_clips=2), cache=cache)
    [comparison] = report.verification.comparisons
    assert comparison.largest_difference < 1e-4 and comparison.accuracy is not None
