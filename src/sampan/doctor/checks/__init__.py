"""One check a module: ``check(subject)`` yields findings. ``doctor.table`` lists them."""
