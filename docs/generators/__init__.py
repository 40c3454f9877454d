"""Pages that are made when the others are built."""
