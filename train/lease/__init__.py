"""``python -m train lease``: a whole plan of training in a fixed number of seconds, on a machine that is rented."""
