"""Roles of parameters, the scaling rules as tables, and the tables applied to shapes."""
