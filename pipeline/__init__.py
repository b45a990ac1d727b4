"""From video files and labels to preprocessed clips. No torch here, nor below `signprep.training`."""
