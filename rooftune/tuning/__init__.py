"""Playbook, gates, search and decision."""
