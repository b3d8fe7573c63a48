"""The distribution-spec client: transport, authentication, credentials, images as sources."""
