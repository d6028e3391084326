"""Media in and out: tables of containers and encoders; reading, writing and joining. PyAV and numpy, never torch."""
