"""Chains, groups and chords: A18 of the seeds."""

from __future__ import annotations

from tests.seeds.stage import Folder, commands, sample

WORKER = commands("A05-A09-workers.sh")[0]


def test_a18_a_chain_a_group_and_a_chord(folder: Folder) -> None:
    folder.put("celery_app.py", sample("A02-celery_app.py"))
    folder.put("tasks.py", sample("A18-tasks.py"))

    with folder.started(WORKER):
        assert folder.python("tasks.py") == ["16", "[4, 8, 16]", "90"]
