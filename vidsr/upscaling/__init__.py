"""Frames in, larger frames out: colour, batches, tiles and resizing around one backend."""
