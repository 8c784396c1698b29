"""Procedural phantom chest radiographs with lesion masks and exact negative twins."""
