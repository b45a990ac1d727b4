"""HTML reports as single files: the page frame, its style sheet and parts, and SVG charts; no report of its own."""
