"""The other side of the wire: a small control centre, and `modbus poll | write | scan` for a person.

The core is sans-IO: what to read (`blocks`), when (`schedule`), what it means (`readings`, `board`, `alarms`) and what
is kept (`trend`) are told the time.  `link` is pymodbus's client; `centre` is asyncio and little else.
"""
