"""Calls run as tasks of a Ray cluster: the process that speaks to Ray.

The driver gives Ray as many tasks as there are processors for them and keeps the others, so that what waits
can be taken back for sure, and what is lent goes to whoever waits. Words of a task that runs come by a small
actor, the *hub*: an answer is passed on when all words before it have been.

What Ray does, as measured with 2.60: a process of it that is killed is told of after 15 ms, one that is ended
by force after 30 ms; 10 ms of work take 11.6 ms as a task, 11.9 as calls of an actor that come one by one,
10.9 with two sent ahead. Tasks share the cluster with the jobs of others, and actors keep what they have: so
calls are tasks.
"""

from __future__ import annotations

import marshal
import os
import queue
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from taskflow.pools import guest
from taskflow.pools.ray_there import Hub, run

__all__ = ["Driver", "main"]

CONNECT_S = 3.0
CHECK_S = 60.0
LOOK_S = 1.0
OTHERS_SEEN = 3
LATE_S = 3.0
GONE_S = 8.0
_TRY_AGAIN = ("client server failed", "ZombieProcess")
"""What Ray Client says when the process it started for a client was slow, or ended, on a busy machine."""
_BEGIN = "ray start --head starts one on this machine"


def main(fd: int) -> None:
    """Serve an agent until it is gone, or Ray is.

    Args:
        fd: The pipe to the agent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Connection(fd)
    heard: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=[pipe, heard], daemon=True).start()
    driver = None
    while True:
        what, *rest = heard.get()
        if what == "open":
            address, tcp, shown, key = rest
            refused = _reach(tcp, shown) or _join(address, shown) or _differs(shown, key)
            if refused is None:
                driver = Driver(pipe, is_near=not address.startswith("ray://"))
            else:
                pipe.send_bytes(marshal.dumps(("refused", refused), 2))
        elif what == "close" or driver is None:
            break
        else:
            getattr(driver, what)(*rest)
    if driver is not None:
        driver.close()
    os._exit(0)


def _read(pipe: Connection, heard: queue.SimpleQueue[list[Any]]) -> None:
    """Pass on what the agent says. When it is gone this process ends, whatever it waits for."""
    try:
        while True:
            heard.put(marshal.loads(pipe.recv_bytes()))
    except (EOFError, OSError):
        os._exit(0)  # Ray ends what it sent.


# ── joining ──────────────────────────────────────────────────────────────────────────


def _reach(tcp: tuple[str, int] | None, shown: str) -> str | None:
    """Why nobody answers there, if nobody does; Ray itself would find out after minutes."""
    if tcp is None:
        return None
    try:
        socket.create_connection((tcp[0], tcp[1]), CONNECT_S).close()
    except OSError as error:
        return f"There is no Ray cluster at {shown} ({error}): {_BEGIN} (ray://auto), on the port 6379."
    return None


def _join(address: str, shown: str) -> str | None:
    import ray

    for is_last in (False, True):
        try:
            ray.init(address, namespace="taskflow", log_to_driver=False, logging_level="ERROR")
            break
        except BaseException as error:  # noqa: BLE001 - of many kinds, whatever it is
            if not is_last and any(word in str(error) for word in _TRY_AGAIN):
                ray.shutdown()
                continue
            cure = f"Is it one? {_BEGIN}; ray://HOST:10001 needs no node here."
            if address.startswith("ray://") and "ray[client]" in str(error):
                cure = "Install it with: pip install 'ray[client]'"
            return f"The Ray cluster at {shown} cannot be joined: {_first_lines(error)} {cure}"
    return None


def _versions() -> tuple[str, str, str]:
    return tuple(guest.versions())  # type: ignore[return-value]


def _differs(shown: str, key: str) -> str | None:
    """Why calls could not run there, of the first node where they could not."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(_versions)
    asked = {
        task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(): node
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU")
    }
    mine = guest.versions()._replace(key=key)
    end = time.monotonic() + CHECK_S
    for ref, node in asked.items():
        where = (
            f"the node {node.get('NodeManagerHostname') or node['NodeID'][:12]} of the Ray cluster at {shown}"
        )
        try:
            theirs = guest.Versions(*ray.get(ref, timeout=max(0.1, end - time.monotonic())))
        except ray.exceptions.GetTimeoutError:
            return f"{where} runs nothing: it did not answer within {CHECK_S:g} s."
        except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
            continue  # it has just gone, and Ray will know soon
        except ray.exceptions.RayError as error:
            return (
                f"taskflow cannot run on {where}: {_first_lines(error)} Install the same taskflow there:"
                f" pip install jupyter-taskflow=={mine.taskflow}"
            )
        if unlike := mine.unlike(theirs if key else theirs._replace(key="")):
            return f"Calls cannot run on {where}: {unlike}"
    return None


def _first_lines(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    text = lines[-1] if "Traceback" in str(error) else " ".join(lines[:3])
    return text if text.endswith(".") else f"{text}."


# ── in the driver ────────────────────────────────────────────────────────────────────


class Driver:
    """Tasks of the cluster for an agent.

    Args:
        pipe: To the agent.
        is_near: A node of the cluster is on this machine, so that its head can be seen from here.
    """

    def __init__(self, pipe: Connection, *, is_near: bool) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray, self._pipe, self._is_near = ray, pipe, is_near
        self._closing = False
        self._head = str(ray.get_runtime_context().gcs_address) if is_near else ""
        self._lock = threading.RLock()
        self._telling = threading.Lock()
        self._waiting: deque[tuple[int, bytes, str, dict[str, Any]]] = deque()
        self._data: dict[str, Any] = {}
        self._refs: dict[int, Any] = {}
        self._ended: queue.SimpleQueue[tuple[Any, int, list[str], Any]] = queue.SimpleQueue()
        self._free_of_charge: set[int] = set()
        self._lent: dict[int, int] = {}
        self._heard: dict[int, int] = {}
        self._held: dict[int, tuple[int, tuple[bytes, list[str]], float]] = {}
        self._others: deque[float] = deque(maxlen=OTHERS_SEEN)
        self._task = ray.remote(num_cpus=1, num_returns=2, max_retries=0)(run)
        near = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._hub = (
            ray.remote(Hub)
            .options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=near)
            .remote()
        )
        self._slots = self._count()
        self._tell("ready", self._slots)
        for target in (self._take, self._listen, self._look, self._guard):
            threading.Thread(target=target, daemon=True).start()

    def keep(self, name: str, data: bytes) -> None:
        """Put data into Ray's object store, from where the nodes fetch it."""
        self._data[name] = self._ray.put(data)

    def forget(self, name: str) -> None:
        """Let go of data; what runs with it still has it."""
        self._data.pop(name, None)

    def send(self, number: int, message: bytes, label: str, names: list[str]) -> None:
        """Run a message, with data that was put, as soon as there is a processor for it."""
        with self._lock:
            data = {name: self._data[name] for name in names if name in self._data}
            if is_whole := len(data) == len(names):
                self._waiting.append((number, message, label, data))
        if is_whole:
            self._pump()
        else:
            lacking = [name for name in names if name not in data]
            self._tell("lacked", number, lacking, "Data that the task needs is not in Ray any more.")

    def cancel(self, number: int, force: bool) -> None:
        """Take back what waits; else have Ray interrupt or end it."""
        with self._lock:
            kept = [one for one in self._waiting if one[0] != number]
            waits = len(kept) < len(self._waiting)
            self._waiting = deque(kept)
            ref = self._refs.get(number)
        if waits:
            self._tell("dropped", number)
        elif ref is not None:
            self._ray.cancel(ref, force=force)

    def close(self) -> None:
        """Leave the cluster; what still runs there ends."""
        self._closing = True
        self._ray.shutdown()

    # ── tasks ───────────────────────────────────────────────────────────────────────

    def _pump(self) -> None:
        """Give Ray what it has processors for; for those that only wait others are run beside them."""
        with self._lock:
            while self._waiting:
                lent = sum(1 for more in self._lent.values() if more > 0) - len(self._free_of_charge)
                charged = len(self._refs) - len(self._free_of_charge)
                if charged >= max(1, self._slots) and lent <= 0:
                    return
                number, message, label, data = self._waiting.popleft()
                task = self._task.options(name=f"taskflow: {label}", num_cpus=0 if lent > 0 else 1)
                ref, made = task.remote(number, message, self._hub, list(data), *data.values())
                self._refs[number] = ref
                if lent > 0:
                    self._free_of_charge.add(number)
                self._tell("began", number)
                # Ray Client tells of it in the thread that also brings every answer: nothing may wait there.
                what = number, list(data), made
                ref.future().add_done_callback(lambda done, what=what: self._ended.put((done, *what)))

    def _take(self) -> None:
        while True:
            self._done(*self._ended.get())

    def _done(self, done: Any, number: int, given: list[str], made: Any) -> None:
        with self._lock:
            self._refs.pop(number, None)
            self._free_of_charge.discard(number)
            self._lent.pop(number, None)
        self._pump()
        try:
            answer, said, names = done.result()
        except BaseException as error:  # noqa: BLE001 - what it means is told
            self._failed(number, error, given)
            return
        if names:
            threading.Thread(target=self._fetch, args=(number, answer, said, made), daemon=True).start()
        else:
            self._answered(number, answer, said)

    def _fetch(self, number: int, answer: bytes, said: int, made: Any) -> None:
        """Bring what a task made, for the store; in Ray it stays where it is."""
        try:
            data: dict[str, bytes] = self._ray.get(made)
        except BaseException as error:  # noqa: BLE001 - likewise
            self._failed(number, error)
            return
        self._data.update(dict.fromkeys(data, made))
        self._tell("stays", {name: len(it) for name, it in data.items()})
        records, missing, _ = marshal.loads(answer)
        self._answered(number, marshal.dumps((records, missing, data), 2), said, list(data))

    def _failed(self, number: int, error: BaseException, names: Sequence[str] = ()) -> None:
        """Tell why there is no answer; when Ray has lost what the task was given it did not begin."""
        self._heard.pop(number, None)
        if names and isinstance(getattr(error, "cause", error), self._ray.exceptions.ObjectLostError):
            for name in names:
                self._data.pop(name, None)
            self._tell("lacked", number, list(names), f"Ray lost data: {_first_lines(error)}")
        elif isinstance(error, self._ray.exceptions.LocalRayletDiedError):
            threading.Timer(LOOK_S, self._mourn, [number]).start()
        else:
            self._tell(*self._verdict(number, error))

    def _answered(self, number: int, answer: bytes, said: int, stays: Sequence[str] = ()) -> None:
        """Pass an answer on when all words before it have been."""
        with self._lock:
            if self._heard.get(number, 0) < said:
                self._held[number] = said, (answer, list(stays)), time.monotonic()
                return
            self._heard.pop(number, None)
        self._tell("answer", number, answer, list(stays))

    def _mourn(self, number: int) -> None:
        """A node has died. If that was all of the cluster, what is sent now would die the same way."""
        if not self._answers():
            os._exit(1)
        self._tell("lost", number, "The node of the Ray cluster that ran the task is gone.", "WorkerLost")

    def _answers(self) -> bool:
        """Whether somebody answers at the head, as far as that can be seen from here."""
        if not self._is_near:
            return True
        host, _, port = self._head.rpartition(":")
        with suppress(OSError):
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
            return True
        return False

    def _verdict(self, number: int, error: BaseException) -> tuple[Any, ...]:
        errors = self._ray.exceptions
        if isinstance(error, errors.TaskCancelledError):
            return "dropped", number
        if isinstance(error, errors.OutOfMemoryError):
            return "lost", number, f"Ray ended the process of the task: {_first_lines(error)}", "OOMKilled"
        if isinstance(error, errors.WorkerCrashedError):
            return "lost", number, "The process of Ray that ran the task is gone.", "WorkerLost"
        if isinstance(error, errors.NodeDiedError):
            return "lost", number, "The node of the Ray cluster that ran the task is gone.", "WorkerLost"
        return "lost", number, f"Ray could not run the task: {_first_lines(error)}", "WorkerLost"

    # ── what is heard ───────────────────────────────────────────────────────────────

    def _listen(self) -> None:
        while True:
            try:
                words = self._ray.get(self._hub.listen.remote())
            except ConnectionError:
                self._cut_off()
                return
            except self._ray.exceptions.RayError:
                time.sleep(LOOK_S)
                continue
            for what, number, told in words:
                self._hear(what, number, told)

    def _hear(self, what: str, number: int, told: Any) -> None:
        if what == "said":
            self._tell("said", told)
        with self._lock:
            if what == "lent" and number in self._refs:
                self._lent[number] = self._lent.get(number, 0) + told
            self._heard[number] = self._heard.get(number, 0) + 1
            held = self._held.get(number)
            ready = held is not None and held[0] <= self._heard[number]
            if ready:
                del self._held[number], self._heard[number]
        if held is not None and ready:
            self._tell("answer", number, *held[1])
        if what == "lent":
            self._pump()

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_S)
            try:
                self._slots = self._count()
            except ConnectionError:
                self._cut_off()
                return
            self._tell("slots", self._slots)
            self._pump()
            with self._lock:
                late = [n for n, (_, _, at) in self._held.items() if time.monotonic() - at > LATE_S]
                told = [(n, self._held.pop(n)[1]) for n in late]
            for number, answer in told:  # The hub was lost with its words.
                self._heard.pop(number, None)
                self._tell("answer", number, *answer)

    def _cut_off(self) -> None:
        """Ray Client has lost its server: end this process, unless that is what is wanted."""
        if not self._closing:
            os._exit(1)

    def _guard(self) -> None:
        """End this process when nobody answers at the head: Ray would wait for a minute, or for ever."""
        seen_at = time.monotonic()
        while time.monotonic() - seen_at < GONE_S:
            time.sleep(LOOK_S)
            if self._answers():
                seen_at = time.monotonic()
        os._exit(1)

    def _count(self) -> int:
        """The processors of the cluster that others do not use.

        What Ray knows of them is a moment old: the least of a few looks is what they use.
        """
        whole = self._ray.cluster_resources().get("CPU", 0.0)
        unused = self._ray.available_resources().get("CPU", 0.0)
        mine = len(self._refs) - len(self._free_of_charge)
        self._others.append(max(0.0, whole - unused - mine))
        return int(whole - min(self._others))

    def _tell(self, *words: Any) -> None:
        with self._telling:
            try:
                self._pipe.send_bytes(marshal.dumps(words, 2))
            except OSError:
                os._exit(0)
