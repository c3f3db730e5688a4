"""Who runs where: the master, the members, their placements."""
