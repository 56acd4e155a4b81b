"""What is special about a test host, and the shell script that makes it so."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.hosts.image import USER

# libfaketime breaks the sleep of Python 3.11 and newer (clock_nanosleep(2) with an absolute time).
_CLOCK = """
cat > /tmp/clock.c <<'END'
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    int done = syscall(SYS_clock_gettime, id, at);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) at->tv_sec += OFF;
    return done;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
END
gcc -shared -fPIC -DOFF=%d -o /usr/local/lib/clock.so /tmp/clock.c
"""
# PID 1 is docker's init; a loop keeps sshd, so that it can be restarted without ending the container.
_ONCE = """
[ -e /etc/labctl-test-host ] || {{
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
cat > /etc/ssh/sshd_config <<'END'
{sshd}
END
{special}
touch /etc/labctl-test-host
}}
while :; do /usr/sbin/sshd -D -e; sleep 0.05; done
"""
_SUDO = {
    # The program is there, the user may not.
    "none": "",
    "gone": "rm /usr/bin/sudo",
    "passwordless": f"echo '{USER} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/lab",
    "password": f"echo '{USER} ALL=(ALL) ALL' > /etc/sudoers.d/lab",
}
# Debian's own .bashrc ends early where nobody looks; this greets programs as well.
_BANNER = "echo '*** Welcome! 3 updates can be applied. ***'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """``sudo`` (of the user lab): none, gone, passwordless or password (image.PASSWORD).

    ``sshd``: more lines of sshd_config, which win. ``clock``: seconds that it is off in SSH sessions.
    ``tmpfs``: {path: size as ``8m``}. ``binds``: ``FROM:TO`` or ``FROM:TO:ro``. ``only_from``: the one address
    that reaches sshd.
    """

    user: str = "root"
    sudo: str = "none"
    port: int = 22
    sftp: bool = True
    sshd: tuple[str, ...] = ()
    clock: int = 0
    python: bool = True
    noisy: bool = False
    tmpfs: dict[str, str] = field(default_factory=dict)
    binds: tuple[str, ...] = ()
    only_from: str = ""

    @property
    def home(self) -> str:
        """Home directory of ``user``."""
        return "/root" if self.user == "root" else f"/home/{self.user}"

    def script(self) -> str:
        """What the container runs: set up once, then sshd for ever."""
        special = [_SUDO[self.sudo]]
        if self.noisy:
            special.append(f'sed -i "1i {_BANNER}" /root/.bashrc /home/{USER}/.bashrc')
        if self.clock:
            special.append(_CLOCK % self.clock)
        if not self.python:
            special.append("rm -f /usr/bin/python3*")
        return _ONCE.format(sshd=self._sshd_config(), special="\n".join(special))

    def _sshd_config(self) -> str:
        """The first value of an option wins, so what a test asks for comes first."""
        lines = [*self.sshd, f"Port {self.port}", "HostKey /etc/ssh/ssh_host_ed25519_key", "UsePAM yes", "PrintMotd no"]
        lines += ["AcceptEnv LANG LC_*", "KbdInteractiveAuthentication no", "PidFile /run/sshd.pid"]
        if self.sftp:
            lines.append("Subsystem sftp /usr/lib/openssh/sftp-server")
        if self.clock:
            lines.append("SetEnv LD_PRELOAD=/usr/local/lib/clock.so")
        return "\n".join(lines)
