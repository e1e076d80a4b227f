"""Accelerators and hosts: catalogue, probing, measured ceilings."""
