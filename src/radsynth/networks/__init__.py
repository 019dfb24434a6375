"""Networks: plain tensors in, plain tensors out."""
