"""The package http."""
