"""Figures that can be believed."""
