"""What is done apart from requests, with the context of the web application around it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from flask import current_app

from taskflow import shared_task


@shared_task
def process_data(data: Sequence[Any]) -> str:
    """Work for as long as the application says."""
    time.sleep(current_app.config["SECONDS"])
    return f"Processed {len(data)} items"
