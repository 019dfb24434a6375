"""Class activation maps and whether they point at the disease."""
