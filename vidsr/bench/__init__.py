"""Measured speed: a network alone and with colour and copies (`network`), whole jobs (`job`), and a chart of both."""
