"""Class activation maps, and label maps made of them."""
