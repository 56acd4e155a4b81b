"""The lab program: runs on the host, imports only the standard library and itself at module level."""
