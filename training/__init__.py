"""All that needs torch, up to a trained checkpoint: models, loader, transforms, runs; predictions are inference/'s."""
