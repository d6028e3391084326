"""Makes the weights that `vidsr` runs: ``python -m train fit|gan|lease|bake|evaluate|export``, from a checkout."""

import time

STARTED = time.monotonic()  # before anything large is loaded: a lease counts from here
