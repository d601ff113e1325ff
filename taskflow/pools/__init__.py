"""Where calls run. A pool keeps `taskflow.ports.Pool`; a worker has one.

`taskflow.pools.process.ProcessPool` runs them in child processes, or in threads or an event loop of one
child; `taskflow.pools.inline.InlinePool` in the thread that starts them.
"""
