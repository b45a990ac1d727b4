"""What happens beside the training steps: guards, checkpoints, progress, the record; the steps are model/'s."""

import signprep.training.runtime.torchvision_operators  # noqa: F401  (before lightning, for all of this folder)
