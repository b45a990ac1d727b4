"""Files that commands leave, by the name that this floor's modules know them by."""

from signprep.pipeline.output import require_writable, written_whole

__all__ = ["require_writable", "written_whole"]
