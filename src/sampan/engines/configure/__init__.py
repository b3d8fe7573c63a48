"""Editing the configuration of other engines, so that they find our runtime and our CDI documents.

One module an engine says what should stand where (``docker``, ``podman``, ``containerd``, ``crio``,
``buildkit``, ``apptainer``); ``change`` prepares, writes and undoes it; ``json_text``, ``toml_text``
and ``line_text`` edit files and leave every other byte alone.
"""
