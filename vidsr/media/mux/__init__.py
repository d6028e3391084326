"""The finished file: segments joined, every other stream of the source copied or converted beside them."""
