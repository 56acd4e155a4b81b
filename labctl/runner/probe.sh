#!/bin/sh
# Facts about a machine without a Python that probe.py could run on: `sh probe.sh LAB_DIR` prints the same schema as
# far as a shell can tell; what it cannot tell is null. POSIX sh; changes nothing and writes no file.
# LABCTL_PROBE_ROOT is put before the paths of /proc, /sys, /etc and their like, for tests with made-up trees.
root=${LABCTL_PROBE_ROOT:-}
lab=${1:-labctl}
# shellcheck disable=SC2088 # the character itself
tilde='~/'
case $lab in /*) ;; "$tilde"*) lab=${HOME%/}/${lab#"$tilde"} ;; *) lab=${HOME%/}/$lab ;; esac
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

# A string, a number, a yes or no as JSON; what is empty is unknown.
text() {
  [ -n "$1" ] || { printf null; return; }
  printf '"%s"' "$(printf %s "$1" | tr -d '\000-\037\177' | utf8 | sed 's/[\\"]/\\&/g')"
}
# What is not UTF-8 is no JSON either.
utf8() { if has iconv; then iconv -c -f UTF-8 -t UTF-8 2>/dev/null; else tr -d '\200-\377'; fi; }
number() { case $1 in '' | *[!0-9]*) printf null ;; *) printf %s "$1" ;; esac; }
truth() { case $1 in yes) printf true ;; no) printf false ;; *) printf null ;; esac; }
there() { if [ -e "$1" ]; then echo yes; else echo no; fi; }
has() { command -v "$1" >/dev/null 2>&1; }
path() { command -v "$1" 2>/dev/null; }
content() { [ -r "$root$1" ] && tr -d '\000' < "$root$1" 2>/dev/null; }
# A driver or a daemon that hangs must not hang the look, nor one that ignores the gentler signals.
patient() { if has timeout; then timeout -s KILL 3 "$@" </dev/null; else "$@" </dev/null; fi; }

release() { content /etc/os-release | sed -n "s/^$1=//p" | head -n 1 | tr -d "\"'"; }
likes() {
  first=
  for word in $(release ID_LIKE); do printf '%s%s' "$first" "$(text "$word")"; first=', '; done
}
libc() {
  said=$(getconf GNU_LIBC_VERSION 2>/dev/null)
  for loader in /lib/ld-musl-*; do [ -n "$said" ] || [ ! -e "$loader" ] || said=musl; done
  case $said in *' '*) version=${said#* } ;; *) version= ;; esac
  printf '{"name": %s, "version": %s}' "$(text "${said%% *}")" "$(text "$version")"
}
cpu() {
  model=$(content /proc/cpuinfo | sed -n 's/^model name[^:]*: *//p' | head -n 1)
  flags=" $(content /proc/cpuinfo | sed -n 's/^flags[^:]*: *//p' | head -n 1) "
  first='' features=''
  for flag in avx2 avx512f avx512_bf16 avx512_fp16 amx_bf16 amx_fp16; do
    case $flags in *" $flag "*) features="$features$first\"$flag\""; first=', ' ;; esac
  done
  count=$(content /proc/cpuinfo | grep -c '^processor')
  printf '{"model": %s, "count": %s, "usable": %s, "features": [%s]}' \
    "$(text "$model")" "$(number "$count")" "$(number "$(nproc 2>/dev/null)")" "$features"
}
memory() {
  said=$(content /proc/meminfo | sed -n "s/^$1: *\([0-9]*\) kB.*/\1/p")
  [ -z "$said" ] || echo $((said * 1024))
}
disk() {
  place=$1
  while [ ! -e "$place" ] && [ "$place" != / ]; do place=$(dirname -- "$place"); done
  # shellcheck disable=SC2046 # the columns of one line
  set -- $(df -Pk -- "$place" 2>/dev/null | tail -n 1)
  total=${2:-} free=${4:-}
  case $total$free in '' | *[!0-9]*) total='' free='' ;; *) total=$((total * 1024)) free=$((free * 1024)) ;; esac
  printf '{"path": %s, "total": %s, "free": %s}' "$(text "$place")" "$(number "$total")" "$(number "$free")"
}
sudo_kind() {
  [ "$(id -u)" != 0 ] || { echo root; return; }
  has sudo || { echo none; return; }
  said=$(patient sudo -n true 2>&1) && { echo free; return; }
  case $said in *'is required'*) echo password ;; *) echo none ;; esac
}
container() {
  [ ! -e "$root/.dockerenv" ] || { echo docker; return; }
  [ ! -e "$root/run/.containerenv" ] || { echo podman; return; }
  said=$(content /run/systemd/container)
  [ -n "$said" ] || said=$(content /proc/1/cgroup | grep -oE 'docker|kubepods|containerd|lxc|podman' | head -n 1)
  [ -n "$said" ] || [ -z "${KUBERNETES_SERVICE_HOST:-}" ] || said=kubernetes
  echo "$said"
}
kills() {
  [ "$systemd" = yes ] || return
  cat "$root"/usr/lib/systemd/logind.conf "$root"/etc/systemd/logind.conf "$root"/etc/systemd/logind.conf.d/*.conf \
    2>/dev/null | sed -n 's/^ *KillUserProcesses *= *//p' | tail -n 1 | sed 's/^\(true\|1\|on\)$/yes/; s/^\(false\|0\|off\)$/no/'
}
linger() { [ "$systemd" != yes ] || there "$root/var/lib/systemd/linger/$(id -un)"; }
docker_facts() {
  version='' why=''
  if has docker; then
    if said=$(patient docker info --format '{{.ServerVersion}}' 2>&1); then version=$said; else why=$(echo "$said" | tail -n 1); fi
  fi
  [ -n "$version" ] && answers=true || answers=false
  printf '{"program": %s, "version": %s, "answers": %s, "why": %s, "nvidia": null}' \
    "$(text "$(path docker)")" "$(text "$version")" "$answers" "$(text "$why")"
}
room() {
  case $sudo in root | free | password) ;; *) echo no; return ;; esac
  [ "$systemd" = yes ] || { echo no; return; }
  content /proc/self/mounts | grep -q ' /sys/fs/cgroup[^ ]* [^ ]* rw[, ]' || { echo no; return; }
  bounds=$(content /proc/self/status | sed -n 's/^CapBnd:[^0-9a-f]*\([0-9a-f]*\).*/\1/p')
  # The bits 21 and 12: CAP_SYS_ADMIN and CAP_NET_ADMIN.
  [ $((0x${bounds:-0} >> 21 & 0x${bounds:-0} >> 12 & 1)) = 1 ] && echo yes || echo no
}
libnuma() {
  for place in /lib /lib64 /usr/lib /usr/lib64 /usr/local/lib /lib/*-linux-gnu /usr/lib/*-linux-gnu; do
    [ ! -e "$place/libnuma.so.1" ] || { echo libnuma.so.1; return; }
  done
}
gpus() {
  [ -z "$smi_failed" ] || return
  first=
  printf '%s\n' "$smi" | while IFS=, read -r index name uuid driver total able bios; do
    [ -n "$bios" ] || continue
    printf '%s{"index": %s, "name": %s, ' "$first" "$(text "${index# }")" "$(text "${name# }")"
    # The start of a UUID tells two GPUs apart; the whole of it is a serial number.
    short=$(printf %.8s "${uuid# }")
    printf '"uuid": %s, "driver_version": %s, ' "$(text "$short...")" "$(text "${driver# }")"
    printf '"memory.total": %s, "compute_cap": %s, ' "$(text "${total# }")" "$(text "${able# }")"
    printf '"vbios_version": %s}' "$(text "${bios# }")"
    first=', '
  done
}
nvml() {
  code=
  case $smi_failed in
    '') [ -z "$smi" ] || code=0 ;;
    *'version mismatch'*) code=18 ;;
    *'communicate with the NVIDIA driver'*) code=9 ;;
    *'GPU is lost'*) code=15 ;;
    *'Unknown Error'*) code=999 ;;
  esac
  [ -n "$code" ] || { printf null; return; }
  printf '{"code": %s, "name": %s}' "$code" "$(text "$(echo "${smi_failed:-Success}" | head -n 1)")"
}
pci() {
  first=
  for device in "$root"/sys/bus/pci/devices/*; do
    [ "$(cat "$device/vendor" 2>/dev/null)" = 0x10de ] || continue
    # By PCI's classes: 0300 a VGA controller, 0302 a 3D controller, 0680 another bridge, which is an NVSwitch.
    case $(cat "$device/class" 2>/dev/null) in
      0x0300* | 0x0302*) kind=gpu ;;
      0x0680*) kind=nvswitch ;;
      *) continue ;;
    esac
    name=$(sed 's/^0x//' "$device/device" 2>/dev/null)
    driver=$(readlink "$device/driver" 2>/dev/null)
    printf '%s{"address": %s, "device": %s, "kind": "%s", "driver": %s}' "$first" "$(text "${device##*/}")" \
      "$(text "$name")" "$kind" "$(text "${driver##*/}")"
    first=', '
  done
}
module() {
  said=$(content /proc/driver/nvidia/version | sed -n 's/.*Kernel Module *\(for [^ ]* *\)\{0,1\}\([0-9][0-9.]*\).*/\2/p')
  [ -n "$said" ] || said=$(content /sys/module/nvidia/version)
  echo "$said"
}
module_facts() {
  loaded=no open=''
  [ ! -e "$root/proc/driver/nvidia/version" ] || { loaded=yes; open=no; }
  [ ! -d "$root/sys/module/nvidia" ] || loaded=yes
  content /proc/driver/nvidia/version | grep -q 'Open Kernel Module' && open=yes
  printf '{"version": %s, "open": %s, "loaded": %s}' "$(text "$(module)")" "$(truth "$open")" "$(truth "$loaded")"
}
signed() {
  # A loaded module's taint holds E where its signature is missing or not trusted (admin-guide/tainted-kernels).
  if [ -e "$root/sys/module/nvidia/taint" ]; then
    case $(content /sys/module/nvidia/taint) in *E*) echo no ;; *) echo yes ;; esac
    return
  fi
  folder=/lib/modules/$(uname -r)
  name=$(content "$folder/modules.dep" | sed -n 's/^\([^ :]*nvidia\.ko\):.*/\1/p' | head -n 1)
  [ -n "$name" ] && [ -r "$root$folder/$name" ] || return
  # The kernel's own mark, at the end of every signed module (scripts/sign-file.c).
  tail -c 28 "$root$folder/$name" | grep -q 'Module signature appended' && echo yes || echo no
}
secure_boot() {
  variable=$root/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
  if [ -r "$variable" ]; then
    # Four bytes of attributes, then the value (UEFI specification, 8.2).
    case $(tail -c 1 "$variable" | od -An -tu1 | tr -d ' ') in 1) echo yes ;; 0) echo no ;; esac
  elif [ -d "$root/sys/firmware" ] && [ ! -d "$root/sys/firmware/efi" ] && [ -z "$box" ]; then
    echo no
  fi
}
fabric() {
  needed=no manager='' version='' program=''
  case $devices in *nvswitch*) needed=yes ;; esac
  for place in /usr/bin /usr/sbin /usr/local/bin; do
    [ ! -e "$root$place/nv-fabricmanager" ] || program=$root$place/nv-fabricmanager
  done
  [ -n "$box" ] || manager=absent
  if [ -n "$program" ]; then
    manager=inactive
    version=$(patient "$program" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+[0-9.]*' | head -n 1)
  fi
  # The kernel cuts names to 15 characters.
  cat "$root"/proc/[0-9]*/comm 2>/dev/null | grep -qx nv-fabricmanage && manager=active
  printf '{"needed": %s, "manager": %s, "version": %s, "state": null}' \
    "$(truth "$needed")" "$(text "$manager")" "$(text "$version")"
}
xid() {
  if [ -n "$root" ]; then log=$(content /dev/kmsg); else log=$(patient dmesg 2>/dev/null); fi
  [ -n "$log" ] || { printf null; return; }
  found=$(printf '%s\n' "$log" | sed -n 's/.*NVRM: Xid (\([^)]*\)): \([0-9][0-9]*\)\(.*\)/\2 \1\3/p')
  first=
  printf '['
  for code in $(printf '%s\n' "$found" | sed -n 's/^\([0-9]*\) .*/\1/p' | sort -nu); do
    count=$(printf '%s\n' "$found" | grep -c "^$code ")
    last=$(printf '%s\n' "$found" | sed -n "s/^$code //p" | tail -n 1 | cut -c 1-200)
    printf '%s{"code": %s, "count": %s, "last": %s}' "$first" "$code" "$count" "$(text "$last")"
    first=', '
  done
  printf ']'
}
port() {
  listening=$(cat "$root"/proc/net/tcp "$root"/proc/net/tcp6 2>/dev/null)
  [ -n "$listening" ] || { printf null; return; }
  # The state 0A is LISTEN; 1F40 is 8000.
  printf '%s\n' "$listening" | grep -qi ':1F40 [0-9A-F]*:[0-9A-F]* 0A ' && printf false || printf true
}
# Whether an address answers: NAME, the address, a path below it. One line, `NAME {...}`.
answer() {
  # A mirror's address may carry a password.
  shown=$(printf %s "$2" | sed 's#//[^/@]*@#//#')
  why='' answers=true
  if [ -z "$2" ]; then
    answers=null why='nothing here says which one it would be'
  elif has curl; then
    # By standard input: a password must not stand in the list of processes.
    said=$(printf 'url = "%s"\n' "$2$3" | curl -sS -o /dev/null -m 3 -K - 2>&1) || answers=false why=$said
  elif has wget; then
    said=$(patient wget -q -O /dev/null -T 3 "$shown$3" 2>&1) || answers=false why=${said:-wget could not fetch it}
    case $why in *' 40'[0-9]*) answers=true why='' ;; esac
  else
    answers=null why='neither curl nor wget is here'
  fi
  printf '%s {"endpoint": %s, "answers": %s, "why": %s}\n' "$1" "$(text "$shown")" "$answers" "$(text "$why")"
}
network() {
  index=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-${PIP_INDEX_URL:-${LABCTL_DEFAULT_INDEX:-}}}}
  answer index "${index%/}" /uv/ &
  answer hub "${HF_ENDPOINT:-https://huggingface.co}" '' &
  wait
}
smi_table() {
  has nvidia-smi || return
  fields=index,name,uuid,driver_version,memory.total,compute_cap,vbios_version
  if said=$(patient nvidia-smi --query-gpu=$fields --format=csv,noheader,nounits 2>&1); then kind=smi; else kind=smi_failed; fi
  [ $kind = smi ] || said=${said:-no answer}
  printf '%s\n' "$said" | sed "s/^/$kind /"
}
# All that may hang, at once: one line each with its name before it, short enough for a pipe to keep whole.
slow() {
  smi_table &
  { ! has nvidia-smi || patient nvidia-smi -q 2>/dev/null | sed -n 's/^CUDA Version *: *\([0-9.]*\).*/cuda \1/p'; } &
  { said=$(docker_facts); printf 'docker %s\n' "$said"; } &
  { said=$(sudo_kind); printf 'sudo %s\n' "$said"; } &
  { said=$(fabric); printf 'fabric %s\n' "$said"; } &
  { said=$(xid); printf 'xid %s\n' "$said"; } &
  { [ ! -x "$lab/uv/bin/uv" ] || patient "$lab/uv/bin/uv" --version 2>/dev/null | sed -n 's/^[^ ]* \([^ ]*\).*/uv \1/p'; } &
  network &
  wait
}
told() { printf '%s\n' "$slow" | sed -n "s/^$1 //p"; }

systemd=$(there "$root/run/systemd/system") box=$(container) devices=$(pci)
manager=; for program in dnf apt-get; do ! has $program || manager=$program; done
slow=$(slow)
sudo=$(told sudo) smi=$(told smi) smi_failed=$(told smi_failed)
# What nvidia-smi shows in its head; it counts only where the table came too.
cuda=; [ -z "$smi" ] || cuda=$(told cuda)
driver=$(module)
room_left=$(disk "$lab")
free=${room_left##*: }
free=${free%\}}
case $free in '' | *[!0-9]*) gib=null ;; *) gib=$((free / 1073741824)).$((free % 1073741824 * 10 / 1073741824)) ;; esac

cat <<JSON
{"schema": 2, "by": "shell", "hostname": $(text "$(uname -n)"), "system": $(text "$(uname -s)"), "time": $(date +%s),
 "os": {"id": $(text "$(release ID)"), "like": [$(likes)], "version": $(text "$(release VERSION_ID)"),
  "codename": $(text "$(release VERSION_CODENAME)"), "name": $(text "$(release PRETTY_NAME)")},
 "kernel": $(text "$(uname -r)"), "arch": $(text "$(uname -m)"), "libc": $(libc),
 "cpu": $(cpu),
 "memory": {"total": $(number "$(memory MemTotal)"), "available": $(number "$(memory MemAvailable)"),
  "swap": $(number "$(memory SwapTotal)"), "cgroup_limit": $(number "$(content /sys/fs/cgroup/memory.max)")},
 "disk": $room_left, "shm": $(disk /dev/shm),
 "python": null, "pythons": [],
 "user": {"name": $(text "$(id -un 2>/dev/null)"), "uid": $(number "$(id -u)"), "home": $(text "$HOME"), "sudo": "$sudo"},
 "systemd": $(truth "$systemd"), "container": $(text "$box"),
 "logind": {"kill_user_processes": $(truth "$(kills)"), "linger": $(truth "$(linger)")},
 "package_manager": $(text "$manager"),
 "docker": $(told docker | sed 's/}$//'), "room": $(truth "$(room)")},
 "compiler": {"cxx": $(text "$(path g++ || path c++)"), "headers": null},
 "lscpu": $(has lscpu && printf true || printf false), "libnuma": $(text "$(libnuma)"),
 "gpus": [$(gpus)],
 "nvidia": {"pci": [$devices], "nvml": $(nvml), "library": null,
  "driver": $(text "$driver"), "cuda": $(text "$cuda"), "module": $(module_facts), "cuinit": null,
  "smi": $(text "$(path nvidia-smi)"), "nouveau": $(truth "$(there "$root/sys/module/nouveau")"),
  "secure_boot": $(truth "$(secure_boot)"), "module_signed": $(truth "$(signed)"),
  "fabric": $(told fabric), "xid": $(told xid)},
 "network": {"index": $(told index), "hub": $(told hub)},
 "ports": {"8000": $(port)},
 "lab": {"dir": $(text "$lab"), "free_gib": $gib, "uv": $(text "$(told uv)"), "card": null, "whole": false,
  "env": {"python": null, "stamp": null, "packages": [], "runner": null}}}
JSON
