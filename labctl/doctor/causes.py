"""What the codes of CUDA, NVML and the kernel module mean, in a sentence each.

Read in NVIDIA's documents: CUDA Driver API (CUresult), NVML API reference (nvmlReturn_t),
https://docs.nvidia.com/deploy/xid-errors (the Xid catalog) and the Fabric Manager user guide. Causes that those
do not name (a container's lost cgroup, a compat library on LD_LIBRARY_PATH) are what operators report.
"""

from __future__ import annotations

from typing import NamedTuple

CUDA_SOURCE = "CUDA Driver API, CUresult"
NVML_SOURCE = "NVML API, nvmlReturn_t"
XID_SOURCE = "docs.nvidia.com/deploy/xid-errors"


class Cause(NamedTuple):
    """A code's name, and what lies behind it."""

    name: str
    meaning: str


CUDA = {
    2: Cause("CUDA_ERROR_OUT_OF_MEMORY", "another process holds the GPU's memory"),
    3: Cause("CUDA_ERROR_NOT_INITIALIZED", "the driver could not be initialised"),
    34: Cause("CUDA_ERROR_STUB_LIBRARY", "the libcuda that is found is the toolkit's stub, not the driver's"),
    46: Cause("CUDA_ERROR_DEVICE_UNAVAILABLE", "the GPU is held by another process (exclusive mode) or unavailable"),
    100: Cause("CUDA_ERROR_NO_DEVICE", "the driver sees no GPU: none handed in, or CUDA_VISIBLE_DEVICES hides all"),
    101: Cause("CUDA_ERROR_INVALID_DEVICE", "the GPU that is asked for does not exist"),
    802: Cause(
        "CUDA_ERROR_SYSTEM_NOT_READY",
        "the system is not ready for CUDA work: on machines with an NVSwitch the fabric manager is not running, or not "
        "of the driver's exact version",
    ),
    803: Cause(
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "libcuda and the loaded kernel module are of different versions: after an upgrade without a reboot, or another "
        "libcuda found first (a container's own, or a cuda-compat folder)",
    ),
    804: Cause(
        "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
        "a forward-compatibility libcuda (cuda-compat) is in use on a GPU that does not support it: only data-centre "
        "GPUs do; without it on LD_LIBRARY_PATH the driver's own is used",
    ),
    999: Cause("CUDA_ERROR_UNKNOWN", "an internal error of the driver: the module nvidia_uvm or its device is missing"),
}

NVML = {
    4: Cause("NVML_ERROR_NO_PERMISSION", "this user may not open the GPU's devices"),
    9: Cause("NVML_ERROR_DRIVER_NOT_LOADED", "the kernel module of NVIDIA's driver is not loaded"),
    10: Cause("NVML_ERROR_TIMEOUT", "the driver did not answer in its own time"),
    11: Cause("NVML_ERROR_IRQ_ISSUE", "the kernel has an interrupt problem with the GPU"),
    12: Cause("NVML_ERROR_LIBRARY_NOT_FOUND", "NVML's own library cannot be found or loaded"),
    14: Cause("NVML_ERROR_CORRUPTED_INFOROM", "the GPU's inforom is corrupted"),
    15: Cause("NVML_ERROR_GPU_IS_LOST", "the GPU has fallen off the bus, or has otherwise become inaccessible"),
    16: Cause("NVML_ERROR_RESET_REQUIRED", "the GPU must be reset before it can be used again"),
    17: Cause("NVML_ERROR_OPERATING_SYSTEM", "the operating system or its cgroup keeps the GPU's devices from us"),
    18: Cause(
        "NVML_ERROR_LIB_RM_VERSION_MISMATCH",
        "the driver's libraries and the loaded kernel module are of different versions: the driver was upgraded "
        "(unattended upgrades do that) and the machine has not been rebooted since",
    ),
    999: Cause(
        "NVML_ERROR_UNKNOWN",
        "an internal error of the driver; in a container, its access to the GPU's devices was lost (a daemon-reload "
        "on the host does that)",
    ),
}

# Of an application (it ends, the GPU goes on), of the GPU's hardware or firmware, or one that only tells.
_APPLICATION, _HARDWARE, _NOTICE = "application", "hardware", "notice"


class Xid(NamedTuple):
    """What an Xid stands for, whose fault it is, and what helps."""

    meaning: str
    kind: str
    help: str = ""


XID = {
    13: Xid("graphics engine exception: usually an illegal access by a program", _APPLICATION),
    31: Xid("GPU memory page fault: usually an illegal address by a program", _APPLICATION),
    43: Xid("the GPU stopped processing for a program", _APPLICATION),
    45: Xid("preemptive clean-up after an earlier error, or a program that was killed", _APPLICATION),
    48: Xid("double-bit ECC error", _HARDWARE, "reset the GPU; if it comes again, have it replaced"),
    61: Xid("internal micro-controller breakpoint", _HARDWARE, "reboot"),
    62: Xid("internal micro-controller halt", _HARDWARE, "reset the GPU"),
    63: Xid("a memory row was remapped or is going to be", _NOTICE, "reset the GPU when it is idle"),
    64: Xid("remapping a memory row failed", _HARDWARE, "reset the GPU; if it comes again, have it replaced"),
    68: Xid("video decoder exception", _APPLICATION),
    69: Xid("graphics engine class error", _APPLICATION),
    74: Xid("NVLink error", _HARDWARE, "reset the GPUs; if it comes again, have the links checked"),
    79: Xid("the GPU has fallen off the bus", _HARDWARE, "reboot; if it comes again: power, cooling or the slot"),
    92: Xid("a high rate of single-bit ECC errors", _HARDWARE, "run a diagnosis of the GPU (dcgmi diag -r 3)"),
    94: Xid("contained memory error: only the program that hit it is lost", _NOTICE, "restart the program"),
    95: Xid("uncontained memory error", _HARDWARE, "reset the GPU before anything else runs on it"),
    109: Xid("context switch timeout", _APPLICATION),
    119: Xid(
        "the GPU's system processor (GSP) did not answer", _HARDWARE, "reset the GPU or reboot; update the driver"
    ),
    120: Xid("error of the GPU's system processor (GSP)", _HARDWARE, "reset the GPU or reboot; update the driver"),
    121: Xid("corrected error of the link between chips (C2C)", _NOTICE),
    140: Xid("unrecovered ECC error", _HARDWARE, "reset the GPU"),
    143: Xid("the GPU could not be initialised", _HARDWARE, "reset the GPU or reboot"),
    154: Xid("the driver says which recovery the GPU needs now (reset, drain, reboot)", _NOTICE, "do what it names"),
}


def cuda(code: int) -> Cause:
    """A code of cuInit."""
    return CUDA.get(code, Cause(f"CUresult {code}", f"see {CUDA_SOURCE}"))


def nvml(code: int) -> Cause:
    """A code of NVML."""
    return NVML.get(code, Cause(f"nvmlReturn_t {code}", f"see {NVML_SOURCE}"))


def xid(code: int) -> Xid:
    """A number of NVRM's in the kernel log."""
    return XID.get(code, Xid(f"see {XID_SOURCE}", _NOTICE))


def broken(code: int) -> bool:
    """Whether an Xid speaks of hardware or firmware, not of one program."""
    return xid(code).kind == _HARDWARE
