"""Layers are packed once, images are linked from packs into single files; the store."""
