"""taskflow in a notebook: ``%load_ext taskflow``.

Everything here is thin: a magic reads its words, calls what `taskflow.Client` offers to anybody, and shows
what came of it. `session` knows the client of the notebook, `words` has the words of ``%taskflow``, `cells`
turns a cell into a function, `magics` registers both, `extension` loads and unloads them.
"""
