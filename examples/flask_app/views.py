"""Two pages: give data to a task, and see what it made of them."""

from __future__ import annotations

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from flask_app.tasks import process_data
from taskflow import AsyncResult
from taskflow.errors import NoSuchRun

pages = Blueprint("pages", __name__)


@pages.post("/process")
def process() -> ResponseReturnValue:
    """Send the task, and answer at once."""
    task = process_data.delay(request.get_json().get("data", []))
    return {"task_id": task.id}, 202


@pages.get("/result/<task_id>")
def result(task_id: str) -> ResponseReturnValue:
    """How the task stands, and what it gave."""
    try:
        task = AsyncResult(task_id)
        return {"state": task.state, "result": task.result if task.successful() else None}
    except NoSuchRun:
        return {"error": f"no task {task_id}"}, 404
