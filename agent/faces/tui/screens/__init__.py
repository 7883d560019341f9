"""Screens: compose panels and route keys."""
