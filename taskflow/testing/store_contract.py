"""The promises every store keeps, as a suite to subclass.

::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, clock):
            return MyStore(clock=clock)

Each test tells a short story in the words of `taskflow.testing.story`; the store is examined after
every step of it (`StatusPort.check`).
"""

from __future__ import annotations

from taskflow.testing.contract.admitting import Bounding, Locking
from taskflow.testing.contract.cancelling import Cancelling
from taskflow.testing.contract.choosing import Choosing
from taskflow.testing.contract.feeding import Feeding
from taskflow.testing.contract.giving import Giving
from taskflow.testing.contract.graphs import Depending, Growing
from taskflow.testing.contract.items import Items
from taskflow.testing.contract.limiting import Breaking, Limiting
from taskflow.testing.contract.purging import Purging
from taskflow.testing.contract.rerunning import Rerunning
from taskflow.testing.contract.settling import Leasing, Retrying, Settling, Timing
from taskflow.testing.contract.sharing import Asking, Sharing
from taskflow.testing.contract.steering import Controlling
from taskflow.testing.contract.watching import Forgetting, Showing, Watching
from taskflow.testing.contract.working import Claiming, Ranges, Submitting

__all__ = ["StoreContract"]


class StoreContract(
    Submitting,
    Claiming,
    Ranges,
    Limiting,
    Breaking,
    Sharing,
    Asking,
    Settling,
    Retrying,
    Leasing,
    Timing,
    Cancelling,
    Locking,
    Bounding,
    Purging,
    Depending,
    Growing,
    Feeding,
    Rerunning,
    Giving,
    Choosing,
    Items,
    Forgetting,
    Watching,
    Showing,
    Controlling,
):
    """Every verb and every promise of `ports.Store`; give it a fixture ``store`` that takes ``clock``."""
