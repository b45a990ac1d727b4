"""The commands that train, and what `doctor` tries of training; work is of the other rooms."""
