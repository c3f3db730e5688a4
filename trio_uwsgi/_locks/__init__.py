"""The package locks."""
