"""Models, device-side transforms, the loader and the training run (needs torch)."""
