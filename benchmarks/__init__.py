"""taskflow measured beside others: ``make bench``; where its own time goes: ``python -m benchmarks.budget``.

::

    work       what the workers of every subject run: trivial on purpose, results known beforehand
    subject    what a subject is asked for        subjects/   one file each: taskflow, every rival
    cases      what is measured                   one         one measurement, in a process of its own
    run        all of them, in turns              report      the table, and what moved
"""
