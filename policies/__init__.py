"""Learned policies, their training and checkpoints.  Nothing is in here yet (built-in ones: `cosim.agents`)."""
