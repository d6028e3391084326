"""Generators: their definition (`srgan`), and the weights that exist (`registry`)."""
