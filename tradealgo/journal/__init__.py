"""The Recorder: what flowed over the bus, as rows in SQLite or TimescaleDB."""
