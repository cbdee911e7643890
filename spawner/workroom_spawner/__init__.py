"""One user's server: profile, request, container, URL."""
