"""What is asked of a Dask cluster, with one client after another: how its workers are, what they answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from taskflow.pools.guest import Versions, versions

__all__ = ["ANSWER_S", "answer_of", "ask", "unlike"]

ANSWER_S = 30.0
"""How long a worker has to answer a question; one that holds the interpreter answers late."""
_AGAIN_S = 0.1


async def ask(client: Any, address: str, call: Callable[..., Any], *args: Any, nanny: bool = False) -> Any:
    """What a function gives in the process of a worker, beside what that runs; `None` when it raised."""
    said = client.run(call, *args, workers=[address], nanny=nanny, on_error="return")
    answer = (await asyncio.wait_for(said, ANSWER_S)).get(address)
    return None if isinstance(answer, BaseException) else answer


async def answer_of(future: Any) -> Any:
    """What a future gives. Dask fetches several together, and who is cancelled while one is fetched cancels
    those who wait for the others: they ask again.
    """
    while True:
        try:
            return await future
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            await asyncio.sleep(_AGAIN_S)


async def unlike(client: Any, addresses: list[str]) -> dict[str, str]:
    """Of each worker why it cannot run what is sent to it, or nothing."""
    if not addresses:
        return {}
    here = versions()
    said = client.run(versions, workers=addresses, on_error="return")
    there = await asyncio.wait_for(said, ANSWER_S)
    return {address: _difference(address, there.get(address), here) for address in addresses}


def _difference(address: str, there: Any, here: Versions) -> str:
    if isinstance(there, BaseException) or there is None:
        said = f"taskflow cannot be imported there ({type(there).__name__}: {there})"
    else:
        said = here.unlike(there)
    return said and f"The Dask worker at {address} cannot run these calls: {said}."
