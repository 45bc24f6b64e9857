"""The paper exchange: Kite's REST and WebSocket protocol over a simulated or replayed market."""
