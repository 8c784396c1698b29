"""Films as arrays, what is known of them, and how they are augmented."""
