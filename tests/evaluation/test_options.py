"""Options of an evaluation: what cannot be is refused at once."""

import pytest

from gan.errors import ConfigError
from gan.evaluation.options import EvaluationOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"best": "recal"}, "no score.*Did you mean 'recall'"),
        ({"seeds": (1, 2, 1)}, "there twice"),
    ],
)
def test_evaluation_options__refuse_what_cannot_be(options, message):
    with pytest.raises(ConfigError, match=message):
        EvaluationOptions(**options)
