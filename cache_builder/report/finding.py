"""All findings of a cache: those of its index, and those of its clips where they were compared."""

from signprep.cache_builder.report.columns import ClipColumns
from signprep.cache_builder.report.findings import Finding, by_gravity
from signprep.cache_builder.report.label_findings import failures, leaking, removed, same_footage, same_labels
from signprep.cache_builder.report.spread_findings import missing_views, odd_spans, uneven_classes, unknown_names
from signprep.pipeline.clip_spec import ClipSpec


def index_findings(columns: ClipColumns, spec: ClipSpec) -> list[Finding]:
    """Return what the index tells, the gravest first; nothing is decoded."""
    return by_gravity(
        [
            *failures(columns),
            *leaking(columns),
            *same_labels(columns),
            *same_footage(columns),
            *uneven_classes(columns),
            *missing_views(columns),
            *odd_spans(columns, spec),
            *unknown_names(columns),
            *removed(columns),
        ]
    )
