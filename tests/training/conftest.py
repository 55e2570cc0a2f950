"""Short runs draw no loss plot: it takes longer than their steps. `test_trainer` tests the plot itself."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def without_plots():
    from megc.training import log

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "loss_png", lambda history: b"a plot")
        yield
