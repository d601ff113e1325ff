"""Run a module as `python -m` does, in a process that ends soon after the one that started it.

::

    python leashed.py -m dask scheduler
"""

import os
import runpy
import sys
import threading
import time


def watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


threading.Thread(target=watch, args=[os.getppid()], daemon=True).start()
module, sys.argv = sys.argv[2], sys.argv[2:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
