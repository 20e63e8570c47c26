"""The doors to the outside: point lists and SCADA protocols as sans-IO sessions.  Nothing is in here yet."""
