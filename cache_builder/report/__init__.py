"""Reports on the contents of a cache: statistics, findings, pictures, and the page that shows them; no torch."""
