"""Writer of squashfs 4.0 images (the format of Linux' fs/squashfs) from packed layers."""
