"""The package protocol."""
