"""What hits the grid, its sensors and its network, at set or random times."""
