"""Data that ships with Gridloop: scenarios, grids, profiles.  No code."""
