"""Which clips are trained on, in which order, and what augments them."""
