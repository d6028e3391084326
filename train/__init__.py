"""Makes the weights that `vidsr` runs: ``python -m train fit|evaluate|export``, from a checkout."""
