"""The browser that shows the page."""

from tests.cache_builder.report.conftest import tab

__all__ = ["tab"]
