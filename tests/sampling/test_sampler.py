"""The sampler: the same picture whatever draws it."""

import jax
import numpy as np

from gan.sampling.open_run import open_run
from gan.sampling.sampler import Sampler


def test_sampler__draws_the_same_on_any_number_of_devices(finished, monkeypatch):
    run = open_run(finished[1])
    params = run.restore(4)
    rows = np.asarray(run.table.rows[:130])
    several = Sampler(run.model, run.table)(params, range(130), rows)
    device = jax.local_devices()[0]
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    np.testing.assert_array_equal(Sampler(run.model, run.table)(params, range(130), rows), several)
