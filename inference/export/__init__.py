"""From a checkpoint to one file that runs without signprep, and back; which of them to open is of `open_model`."""
