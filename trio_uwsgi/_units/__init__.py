"""The package units."""
