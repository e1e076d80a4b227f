"""Capacity as a measured figure: the highest rate that one server carries within the SLO, with an interval."""
