"""Where large bytes lie, by name; one file for each kind of place."""
