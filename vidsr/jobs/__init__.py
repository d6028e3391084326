"""From inputs to outputs: what to do with each source (`plan`), doing it (`run`), and doing it for many (`batch`)."""
