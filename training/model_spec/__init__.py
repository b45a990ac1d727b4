"""Models: their input, and the way each is built from its name. No training and no weights of others here."""

from signprep.training.model_spec.custom import load_function as load_function
from signprep.training.model_spec.models import (
    K400_FILES as K400_FILES,
)
from signprep.training.model_spec.models import (
    K400_SPACINGS as K400_SPACINGS,
)
from signprep.training.model_spec.models import (
    MODEL_SPECS as MODEL_SPECS,
)
from signprep.training.model_spec.models import (
    build_model as build_model,
)
from signprep.training.model_spec.models import (
    channels_last as channels_last,
)
from signprep.training.model_spec.models import (
    check_k400 as check_k400,
)
from signprep.training.model_spec.models import (
    head_name as head_name,
)
from signprep.training.model_spec.models import (
    is_custom as is_custom,
)
from signprep.training.model_spec.models import (
    model_spec as model_spec,
)
from signprep.training.model_spec.models import (
    parameter_counts as parameter_counts,
)
from signprep.training.model_spec.models import (
    weights_have_size as weights_have_size,
)
from signprep.training.model_spec.spec import ModelSpec as ModelSpec
