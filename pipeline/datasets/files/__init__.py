"""Files of a data root as they lie, in folders, zips and pieces of zips, one a video or one a frame. No labels here."""
