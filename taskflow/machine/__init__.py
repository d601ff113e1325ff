"""The rules of states, pure: rows in, rows and events out.

Imports go up this list, never down::

    rows         what a store must offer
    parts        live ranges of a node, and its counts        needs        what edges ask for
    ending       items, nodes and runs end
    releasing    what an end sets free
    growing      plans are added, and nodes add to them
    claiming  settling  reaping  cancelling  rerunning        one verb each
    moves        the verbs, as stores call them

    invariants   what holds after every step
"""
