/* A libnvidia-ml.so.1 with one GPU, for machines without any: the real nvidia-ml-py talks to it.
   Structures and return codes as in nvml.h (CUDA 13.0). Power is refused, as vGPUs do (NVML_ERROR_NOT_SUPPORTED = 3). */
#include <string.h>
typedef void *device;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned int gpu, mem; } utilization;
int nvmlInitWithFlags(unsigned int flags) { (void)flags; return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return code == 3 ? "Not Supported" : "Error"; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device *out) { *out = (device)1; return index ? 2 : 0; }
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
