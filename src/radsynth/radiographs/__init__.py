"""X-ray pictures: decoding and preparing."""
