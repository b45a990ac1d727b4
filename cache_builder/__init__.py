"""The tensor cache: plan, build, format and read. `open_cache(path)` is the door to a finished one."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signprep.cache_builder.reader import Cache, open_cache

__all__ = ["Cache", "open_cache"]


def __getattr__(name: str) -> Any:
    # Resolved on first use: the command line imports this package and must stay free of zarr and pyarrow.
    if name in __all__:
        from signprep.cache_builder import reader

        return getattr(reader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
