"""The browser that shows the pages."""

from tests.cache_builder.report.conftest import tab

__all__ = ["tab"]
