"""Video files to preprocessed frames: demuxing, order of presentation, decoding, cropping. No label is read here."""
