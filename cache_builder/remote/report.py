"""What a push or a pull moved."""

from dataclasses import dataclass

from signprep.cache_builder.format.layout import CacheObject


@dataclass(frozen=True, kw_only=True)
class TransferReport:
    """What travelled, or would."""

    num_objects: int
    """That the cache has."""
    num_bytes: int
    num_sent: int
    """Objects that were not there."""
    sent_bytes: int
    num_pruned: int = 0
    """Objects of older versions that were deleted."""

    @classmethod
    def of(cls, objects: dict[str, CacheObject], sent: list[str], *, num_pruned: int = 0) -> "TransferReport":
        """Return the report of a cache's objects of which some travelled, by their paths."""
        return cls(
            num_objects=len(objects),
            num_bytes=sum(entry.num_bytes for entry in objects.values()),
            num_sent=len(sent),
            sent_bytes=sum(objects[path].num_bytes for path in sent),
            num_pruned=num_pruned,
        )
