"""Write reference.json: what MediaPipe's own holistic solution says of the pictures of `pictures.py`.

    python tests/pipeline/landmarks/make_reference.py

It runs in an environment of its own, with mediapipe 0.10.21 and scikit-image, which ask for NumPy below 2.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
FACE = [70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 61, 37, 0, 267, 291, 314, 17, 84, 13, 14]
"""Points of the mesh that are stored: brows and lips."""
PARTS = {"pose": range(33), "left_hand": range(21), "right_hand": range(21), "face": FACE}


def landmarks(frames: list) -> list[dict]:
    """Return for each frame the points of each part that was found, [x, y, visibility] in parts of the picture."""
    from mediapipe.python.solutions.holistic import Holistic

    answers = []
    # Landmarks are not smoothed: signprep does not smooth them either.
    with Holistic(static_image_mode=len(frames) == 1, smooth_landmarks=False) as holistic:
        for frame in frames:
            found = holistic.process(frame)
            parts = {name: getattr(found, f"{name}_landmarks") for name in PARTS}
            answers.append(
                {
                    name: [rounded(part.landmark[number]) for number in PARTS[name]]
                    for name, part in parts.items()
                    if part is not None
                }
            )
    return answers


def rounded(point: object) -> list[float]:
    return [round(number, 5) for number in (point.x, point.y, point.visibility)]


def main() -> None:
    sys.path.insert(0, str(HERE))
    from pictures import clips

    reference = {name: landmarks(frames) for name, frames in clips().items()}
    text = json.dumps(reference, separators=(",", ":"))
    (HERE / "reference.json").write_text(text.replace('{"pose"', '\n{"pose"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
