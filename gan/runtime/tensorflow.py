"""The only way in which TensorFlow is imported here: late, and quiet."""

import os
from types import ModuleType


def import_tensorflow() -> ModuleType:
    """Imports TensorFlow at the first call, which takes seconds, and leaves the GPUs to JAX."""
    # Its C++ half prints the traceback of each error that we catch and say better. (No default
    # would do: importing JAX has set it to 1.)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import tensorflow

    tensorflow.config.set_visible_devices([], "GPU")
    return tensorflow
