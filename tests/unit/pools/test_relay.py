"""What tasks log comes to the pool as records, and stays in their output."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from taskflow.testing.workbench import Workbench
from tests.unit.pools.conftest import Open


def _records(bench: Workbench) -> list[dict[str, Any]]:
    return [dict(note.data) for note in bench.notes if note.kind == "record"]


def test_a_record_comes_with_its_task(open_bench: Open) -> None:
    bench = open_bench(1, log_level=logging.INFO)

    def works(name: str) -> None:
        logging.getLogger(name).info("added %d %s", 3, "rows")
        logging.getLogger(name).debug("not this")

    lease = bench.call(works, "proj.tasks")
    outcome = bench.one(lease)

    (told,) = _records(bench)
    assert (told["level"], told["name"], told["text"]) == (logging.INFO, "proj.tasks", "added 3 rows")
    assert (told["task_id"], told["task_name"], told["index"]) == (lease.key.node, "label", 0)
    assert (told["exc"], told["is_task"]) == (None, False)
    assert abs(told["at"] - time.time()) < 60
    assert outcome.log == "added 3 rows\n"


def test_an_exception_comes_as_its_traceback(open_bench: Open) -> None:
    bench = open_bench(1, log_level=logging.INFO)

    def works() -> None:
        try:
            raise LookupError("nothing there")
        except LookupError:
            logging.getLogger("proj").exception("could not look")

    bench.run(bench.call(works))

    (told,) = _records(bench)
    assert told["text"] == "could not look"
    assert told["exc"].startswith("Traceback")
    assert told["exc"].endswith("LookupError: nothing there")


def test_a_record_is_there_while_the_task_runs(open_bench: Open, tmp_path: Path) -> None:
    bench = open_bench(1, log_level=logging.INFO)
    go = str(tmp_path / "go")

    def works() -> None:
        logging.getLogger("proj").warning("begun")
        while not Path(go).exists():
            time.sleep(0.01)

    lease = bench.call(works)
    bench.start(lease)
    bench.until(lambda: bool(_records(bench)))

    assert lease.key.node not in bench.outcomes
    Path(go).touch()
    bench.until(lambda: lease.key.node in bench.outcomes)


def test_what_the_task_sets_up_for_itself_changes_nothing(open_bench: Open) -> None:
    bench = open_bench(1, log_level=logging.WARNING)

    def works() -> None:
        logging.basicConfig(level=logging.INFO, format="mine: %(message)s")
        logging.getLogger("proj").info("seen here only")
        logging.getLogger("proj").warning("seen everywhere")

    outcome = bench.one(bench.call(works))

    assert outcome.log == "mine: seen here only\nmine: seen everywhere\n"
    assert [told["text"] for told in _records(bench)] == ["seen everywhere"]


def test_a_pool_that_wants_no_records_gets_none(bench: Workbench) -> None:
    outcome = bench.one(bench.call(lambda: logging.getLogger("proj").warning("only printed")))

    assert bench.notes == []
    assert outcome.log == "only printed\n"


def test_task_loggers_are_told_apart(open_bench: Open) -> None:
    bench = open_bench(1, log_level=logging.INFO)

    def works() -> None:
        from taskflow.logs import get_task_logger

        get_task_logger("proj.tasks").warning("careful")

    bench.run(bench.call(works))

    (told,) = _records(bench)
    assert (told["name"], told["is_task"]) == ("proj.tasks", True)


def test_items_of_a_map_log_under_their_own_ids(open_bench: Open) -> None:
    bench = open_bench(1, log_level=logging.INFO)
    lease = bench.array(lambda item: logging.getLogger("proj").info("item %s", item), "ab")

    bench.run(lease)

    assert [(told["task_id"], told["text"]) for told in _records(bench)] == [
        (f"{lease.key.node}[0]", "item a"),
        (f"{lease.key.node}[1]", "item b"),
    ]


def test_a_record_that_cannot_be_rendered_harms_nothing(open_bench: Open) -> None:
    bench = open_bench(1, log_level=logging.INFO)
    lease = bench.call(lambda: logging.getLogger("proj").warning("%d rows", "no number") or 5)

    bench.run(lease)

    assert bench.value(lease) == 5
    assert [told["text"] for told in _records(bench)] == ["%d rows"]
