"""The package program."""
