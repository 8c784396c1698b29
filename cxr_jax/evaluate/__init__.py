"""How walks and maps are judged: figures of NumPy arrays, image by image."""
