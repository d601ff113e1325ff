"""taskflow measured beside the standard library's pools: ``make bench``."""
