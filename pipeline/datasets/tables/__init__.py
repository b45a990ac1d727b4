"""Tables of segments: their cells, the options that say what they mean, and the segments of their rows."""
