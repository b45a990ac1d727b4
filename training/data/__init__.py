"""The order of clips and the cache of a data root; loader.py reads clips, transforms.py changes their pixels."""
