"""Widgets: each shows one thing of a `RunState`."""
