"""Wall time: pacing, serving, hardware in the loop, and the control centre at the other end of the wire."""
