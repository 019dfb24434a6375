"""Radiology reports: parsing, cleaning, finding labels, BERT features."""
