"""The package alarms."""
