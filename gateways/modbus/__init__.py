"""Modbus: application protocol, framings, and the sans-IO server session."""
