"""TensorFlow, for those who cannot do without."""

import os
from types import ModuleType


def tensorflow() -> ModuleType:
    """The module, imported at the first call since that takes seconds."""
    # Its C++ half prints the traceback of each error that we catch and say better. (Not as a
    # default: importing JAX has set it to 1.)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # They are for JAX.
    return tf
