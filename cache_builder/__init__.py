"""The tensor cache: plan, build, format and read. `open_cache(path)` is the door to a finished one."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signprep.cache_builder.open import open_cache
    from signprep.cache_builder.reader import Cache

__all__ = ["Cache", "open_cache"]

_HOMES = {"Cache": "reader", "open_cache": "open"}


def __getattr__(name: str) -> Any:
    # Resolved on first use: the command line imports this package and must stay free of zarr and pyarrow.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
