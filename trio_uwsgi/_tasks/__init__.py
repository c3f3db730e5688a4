"""Trio starts here: one small task or stream each, around one file of floor 1. Floor 2."""
