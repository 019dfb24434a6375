"""Losses: plain tensors in, scalars out."""
