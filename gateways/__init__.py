"""The doors to the outside: point lists, SCADA protocols as sans-IO sessions, and the transports that drive them."""
