"""WebSocket frames in, packed ticks on the bus."""
