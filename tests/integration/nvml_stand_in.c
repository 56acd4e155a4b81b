/* A libnvidia-ml.so.1 (and, built a second time, a libcuda.so.1) for machines without any GPU: the real nvidia-ml-py
   and labctl's probe talk to it. Structures and return codes as in nvml.h and cuda.h (CUDA 13.0), values as an H100's.
   Power is refused, as vGPUs do (NVML_ERROR_NOT_SUPPORTED = 3). The environment changes what it is:
   STAND_IN_GPUS (how many, 1), STAND_IN_NVML (what nvmlInit gives, 0), STAND_IN_CUINIT (what cuInit gives, 0),
   STAND_IN_CAPABILITY (90 is 9.0), STAND_IN_FABRIC (0 none, 1 not started, 2 in progress, 3 completed),
   STAND_IN_HANG (1: nothing ever answers). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
typedef void *device;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned int gpu, mem; } utilization;
typedef struct { unsigned char uuid[16]; int status; unsigned int clique; unsigned char state; } fabric;
static int setting(const char *name, int otherwise) { const char *value = getenv(name); return value ? atoi(value) : otherwise; }
static int start(void) { while (setting("STAND_IN_HANG", 0)) sleep(1); return setting("STAND_IN_NVML", 0); }
static int text(char *out, unsigned int length, const char *value) { return snprintf(out, length, "%s", value) < 0; }
int nvmlInitWithFlags(unsigned int flags) { (void)flags; return start(); }
int nvmlInit_v2(void) { return start(); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) {
    switch (code) {
        case 0: return "Success";
        case 3: return "Not Supported";
        case 9: return "Driver Not Loaded";
        case 15: return "GPU is lost";
        case 18: return "Driver/library version mismatch";
        default: return "Unknown Error";
    }
}
int nvmlSystemGetDriverVersion(char *out, unsigned int length) { return text(out, length, "580.159.04"); }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = 13000; return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = (unsigned int)setting("STAND_IN_GPUS", 1); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device *out) {
    *out = (device)(unsigned long)(index + 1);
    return index < (unsigned int)setting("STAND_IN_GPUS", 1) ? 0 : 2;
}
int nvmlDeviceGetName(device d, char *out, unsigned int length) { (void)d; return text(out, length, "NVIDIA H100 80GB HBM3"); }
int nvmlDeviceGetUUID(device d, char *out, unsigned int length) {
    return snprintf(out, length, "GPU-0000000%lu-1111-2222-3333-444444444444", (unsigned long)d - 1) < 0;
}
int nvmlDeviceGetVbiosVersion(device d, char *out, unsigned int length) { (void)d; return text(out, length, "96.00.DA.00.0C"); }
int nvmlDeviceGetCudaComputeCapability(device d, int *major, int *minor) {
    (void)d; *major = setting("STAND_IN_CAPABILITY", 90) / 10; *minor = setting("STAND_IN_CAPABILITY", 90) % 10; return 0;
}
int nvmlDeviceGetGpuFabricInfo(device d, fabric *out) {
    (void)d; memset(out, 0, sizeof *out); out->state = (unsigned char)setting("STAND_IN_FABRIC", 0); return 0;
}
int nvmlDeviceGetMemoryInfo(device d, memory *out) {
    (void)d; out->total = 85520809984ULL; out->used = 79485206528ULL; out->free = out->total - out->used; return 0;
}
int nvmlDeviceGetUtilizationRates(device d, utilization *out) { (void)d; out->gpu = 97; out->mem = 41; return 0; }
int nvmlDeviceGetPowerUsage(device d, unsigned int *out) { (void)d; (void)out; return 3; }
int nvmlDeviceGetClockInfo(device d, int kind, unsigned int *out) { (void)d; *out = kind == 1 ? 1980 : 2619; return 0; }
int nvmlDeviceGetTemperature(device d, int sensor, unsigned int *out) { (void)d; (void)sensor; *out = 36; return 0; }
int nvmlDeviceGetTemperatureV(device d, void *out) { (void)d; (void)out; return 3; }
int nvmlDeviceGetCurrentClocksEventReasons(device d, unsigned long long *out) { (void)d; *out = 4; return 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(device d, unsigned long long *out) { (void)d; *out = 4; return 0; }
int cuDriverGetVersion(int *out) { *out = 13000; return 0; }
int cuInit(unsigned int flags) { (void)flags; while (setting("STAND_IN_HANG", 0)) sleep(1); return setting("STAND_IN_CUINIT", 0); }
