"""The package system."""
