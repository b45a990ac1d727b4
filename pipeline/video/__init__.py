"""One video file to frames: containers, packets, decoders, preprocessing. Labels and data sets are not known here."""
