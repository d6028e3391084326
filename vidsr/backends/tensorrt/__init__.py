"""TensorRT engines: what identifies one (`key`), where they are kept (`cache`), how they are built, checked and run."""
