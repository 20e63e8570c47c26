"""Point lists: the CSV that SCADA engineers exchange, and how its points become registers and bits."""
