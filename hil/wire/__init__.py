"""The bytes on the wire as evidence: kept as they came, read again beside what they did, exported for tshark."""
