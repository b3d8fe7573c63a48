"""Our own daemonless engine: namespaces, mounts, a bundle, crun or runc."""
