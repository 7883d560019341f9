"""The Textual face: reads `agent.events` and nothing else of ours. Import it late; it imports textual."""
