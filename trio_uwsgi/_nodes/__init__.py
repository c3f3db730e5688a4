"""The package nodes."""
