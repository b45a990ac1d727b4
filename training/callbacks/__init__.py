"""Lightning's callbacks for all that happens beside the training steps; the steps themselves are in model/."""

import signprep.training.runtime.torchvision_operators  # noqa: F401  (before lightning, for all of this folder)
