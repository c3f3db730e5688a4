"""Bytes to values and back. Floor 1: no Trio, no clock, no sockets, no files."""
