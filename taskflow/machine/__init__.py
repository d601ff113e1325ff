"""The rules of states, pure: rows in, rows and events out.

`rows` says what a store must offer, `moves` are its verbs, `graph` is how runs begin, grow and end,
`invariants` is what holds after every step.
"""
