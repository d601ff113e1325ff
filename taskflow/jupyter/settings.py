"""What a Jupyter server may be told of the panel."""

from __future__ import annotations

import os
from typing import Any

from traitlets import Bool, Unicode
from traitlets.config import Configurable

from taskflow.jupyter.desk import Desk
from taskflow.stores import embedded_urls

__all__ = ["Panel"]


class Panel(Configurable):  # type: ignore[misc]
    """In ``jupyter_server_config.py``: ``c.Panel.read_only = True``; or ``--Panel.read_only=True``."""

    store_url = Unicode(
        "",
        help="The store that is shown; empty: the user's embedded stores, and TASKFLOW_URL when it is set.",
    ).tag(config=True)
    read_only = Bool(False, help="Refuse to cancel runs and to retry them.").tag(config=True)

    def desk(self) -> Desk:
        """Who answers, as it is configured."""
        return Desk(self._urls, read_only=bool(self.read_only))

    def _urls(self) -> list[str]:
        if self.store_url:
            return [str(self.store_url)]
        named: Any = os.environ.get("TASKFLOW_URL")
        return list(dict.fromkeys([*([named] if named else []), *embedded_urls()]))
