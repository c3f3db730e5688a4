"""The package apps."""
