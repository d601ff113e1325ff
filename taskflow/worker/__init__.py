"""The worker: it takes work from a store, has a pool run it, and gives the outcomes back.

`agenda` decides what to do next, `holding` knows what is held, `inputs` reads what a lease needs, `steward`
sees to queues and slots (as `wishes` say, `queues` are written and `scaling` reckons), `loop` does it turn by
turn, `process` is the process around it. User code never runs here.
"""
