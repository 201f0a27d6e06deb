"""Options of an evaluation: what cannot be is refused at once."""

import pytest

from gan.errors import ConfigError
from gan.evaluation.options import EvaluationOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"best": "recal"}, "no score.*Did you mean 'recall'"),
        ({"seeds": (1, 2, 1)}, "there twice"),
        ({"watch": True, "step": "20"}, "--watch .* --step=20 .*leave one of them out"),
        ({"best": "FD", "step": "20"}, "--best=FD .*--step=20"),
        ({"best": "FD", "split": "test"}, "--best=FD .* the test split"),
    ],
)
def test_evaluation_options__refuse_what_cannot_be(options, message):
    with pytest.raises(ConfigError, match=message):
        EvaluationOptions(**options)
