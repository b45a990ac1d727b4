"""Custom models and augmentations: the user's functions, named on the command line as package.module:function."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from signprep.pipeline.errors import TrainingError


def load_function(name: str, purpose: str) -> Callable[..., Any]:
    """Import and return the function package.module:function; modules in the current folder are found as well.

    Raises:
        TrainingError: the name has another form, there is no such module or function, or the module does not import;
            `purpose` says in its text what the function is for.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise TrainingError(f"{name!r}: expected the name of a function for the {purpose}, as package.module:function")
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise TrainingError(f"{name}: its module does not import ({error})") from error
        raise TrainingError(
            f"{name}: there is no module {error.name} in the current folder {folder} or among what is installed"
        ) from error
    except Exception as error:
        raise TrainingError(f"{name}: its module does not import ({type(error).__name__}: {error})") from error
    finally:
        sys.path.remove(folder)
    function = getattr(module, attribute, None)
    if not callable(function):
        found = "is no function" if hasattr(module, attribute) else "is not there"
        raise TrainingError(f"{name}: {attribute} {found} in {module.__file__}")
    return function
