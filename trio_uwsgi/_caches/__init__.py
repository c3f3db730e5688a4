"""The package caches."""
