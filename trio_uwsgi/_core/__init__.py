"""What the runtime knows and how it decides. Floor 1: time is an argument; no Trio, no clock, no sockets, no files."""
