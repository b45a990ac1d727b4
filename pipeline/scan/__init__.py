"""Facts and problems of a data root, found before a build, in memory that does not grow with the data. No clips."""
