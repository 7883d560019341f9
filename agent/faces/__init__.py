"""Readers of a run's events: plain lines, JSON lines, the TUI. Each imports `agent.events` and nothing else of ours."""
