"""The package spool."""
