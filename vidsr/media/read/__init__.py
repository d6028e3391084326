"""A source: opened, probed, decoded into frames at their own times. PyAV and numpy, never torch."""
