"""Media files in and out: probe, reader, writer, remux, filters, stills. PyAV and numpy, never torch."""
