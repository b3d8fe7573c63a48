"""The only room that talks to the operating system: system calls, processes, mounts, locks."""
