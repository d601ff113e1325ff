"""Runs made visible in a terminal: the view model, tables and progress bars.

`board` is pure and knows what there is to show; `table` and `terminal` draw. What comes from tasks
(names, errors, output) is untrusted text and passes `text.visible` before it reaches a screen.
"""
