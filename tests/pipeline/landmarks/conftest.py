import pytest

from signprep.pipeline.errors import SignprepError
from signprep.pipeline.landmarks.mediapipe.extract import LandmarkExtractor


@pytest.fixture(scope="package")
def extractor() -> LandmarkExtractor:
    try:
        return LandmarkExtractor()
    except SignprepError as error:
        pytest.skip(str(error))
