"""Five things done with ipyparallel: ``python with_ipyparallel.py``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ipyparallel as ipp
from work import ITEMS, fetch, report, slow


def failure_and_retry() -> None:
    with ipp.Cluster(n=2) as client:
        view = client.load_balanced_view()

        with view.temp_flags(retries=1):  # of whatever, at once, each on another engine
            found = [view.apply_async(fetch, number) for number in ITEMS]  # of a map, one failure costs all
        outcomes = [one.get(return_exceptions=True) for one in found]
        print([outcome for outcome in outcomes if not isinstance(outcome, Exception)])
        print([(i, outcome.evalue) for i, outcome in enumerate(outcomes) if isinstance(outcome, Exception)])


def graph() -> None:
    with ipp.Cluster(n=2) as client:
        view = client.load_balanced_view()

        parts = view.map_sync(slow, ITEMS)  # values pass through the client
        total, largest = view.apply_async(sum, parts), view.apply_async(max, parts)
        print(view.apply_sync(report, total.get(), largest.get()))


def progress_and_partial_results() -> None:
    with ipp.Cluster(n=2) as client:
        view = client.load_balanced_view()

        found = view.map_async(slow, ITEMS, chunksize=1, ordered=False)  # in a notebook: wait_interactive()
        for value in found:
            if value >= 25:
                break
        print(found.progress, "of", len(found), "so far")


def leave(profile: str) -> None:
    cluster = ipp.Cluster(n=2, profile_dir=profile, cluster_id="left", shutdown_atexit=False)
    client = cluster.start_and_connect_sync()

    found = client.load_balanced_view().map_async(slow, ITEMS, chunksize=1)
    Path(profile, "ids").write_text(" ".join(found.msg_ids))  # who comes back has to know them
    next(iter(found))
    os._exit(1)  # as a kernel that is killed


def come_back(profile: str) -> None:
    cluster = ipp.Cluster.from_file(profile_dir=profile, cluster_id="left")
    client = cluster.connect_client_sync()

    ids = Path(profile, "ids").read_text().split()
    found = client.get_result(ids, owner=False)  # the hub keeps them, in memory unless it has a database
    print([value for [value] in found.get()])

    cluster.stop_cluster_sync()


def scale_out(profile: str) -> None:
    # on every other machine: ipengine --file=ipcontroller-engine.json, copied from here
    cluster = ipp.Cluster(n=1, profile_dir=profile)
    client = cluster.start_and_connect_sync()
    cluster.start_engines_sync(1)
    client.wait_for_engines(2)

    print(client.load_balanced_view().map_sync(slow, ITEMS))
    print(client.ids)

    cluster.stop_cluster_sync()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
