"""How tests merge caches."""

from pathlib import Path

from click.testing import CliRunner

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.merge import MergeResult, merge
from signprep.cache_builder.options import MergeOptions
from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import cli


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["merge", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return 1, str(result.exception)
    return result.exit_code, result.output


def merged(out: Path, *caches: Cache, **options: object) -> tuple[Cache, MergeResult]:
    report = merge([cache.path for cache in caches], out, MergeOptions(**options))  # type: ignore[arg-type]
    return open_cache(out), report
