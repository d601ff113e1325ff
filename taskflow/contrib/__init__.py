"""What taskflow does for other people's frameworks: one module each, imported only where it is used."""
