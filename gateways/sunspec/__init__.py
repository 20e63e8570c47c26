"""SunSpec: information models laid out as Modbus registers, and the inverter controls behind them."""
