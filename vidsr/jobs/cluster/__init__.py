"""Parts of a film made by the workers of a Ray cluster."""
