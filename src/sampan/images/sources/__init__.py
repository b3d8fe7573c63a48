"""Where images come from besides registries: layouts, archives, root file systems."""
