"""The session over SSH: every verb is one small command, so a host needs neither SFTP nor Python."""

from __future__ import annotations

from labctl.sessions.ssh.session import SshSession

__all__ = ["SshSession"]
