"""Wall time: pacing, serving, hardware in the loop.  Nothing is in here yet."""
