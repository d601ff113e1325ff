"""The rules of states, pure: rows in, rows and events out.

Imports go up this list, never down::

    rows         what a store must offer
    parts        live ranges of a node, and its counts        needs        what edges ask for
    ending       items, nodes and runs end
    releasing    what an end sets free
    admitting    whether there is room for a plan, and none like it
    growing      plans are added, and nodes add to them
    claiming  settling  reaping  cancelling  purging  rerunning        one verb each
    moves        the verbs, as stores call them

    invariants   what holds after every step
"""
