from importlib.util import find_spec

import pytest

from signprep.pipeline.errors import SignprepError
from signprep.pipeline.landmarks.extract import LandmarkExtractor


@pytest.fixture(scope="package")
def extractor() -> LandmarkExtractor:
    if find_spec("ai_edge_litert") is None:
        pytest.skip("LiteRT is not installed: the extra `landmarks`")
    try:
        return LandmarkExtractor()
    except SignprepError as error:
        pytest.skip(str(error))
