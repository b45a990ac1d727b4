"""The order of an epoch, and clips one by one for other loaders; loader.py reads batches, transforms/ changes them."""
