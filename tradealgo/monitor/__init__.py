"""Heartbeats, latency and alerts."""
