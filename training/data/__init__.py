"""Choice, order and augmentation of a run's clips; loader.py reads them, transforms.py changes their pixels."""
