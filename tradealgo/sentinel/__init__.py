"""Logs in to the broker once a day and keeps the BrokerSession that every process shares."""
