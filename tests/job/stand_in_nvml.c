/* A stand-in for libnvidia-ml.so.1 with two GPUs, for tests: no driver is needed, and one can be made to hang.

   Only what the observer asks for. Source: NVML API Reference; the names that pynvml looks up.
   STAND_IN_NVML_HANGS names a function that never returns. */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, GPUS = 2 };

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { int number; } gpu_t;

static gpu_t gpus[GPUS] = {{0}, {1}};

static int answer(const char *function) {
    const char *hanging = getenv("STAND_IN_NVML_HANGS");
    while (hanging && strcmp(hanging, function) == 0) pause();
    return SUCCESS;
}

static int text(char *to, unsigned size, const char *from) {
    strncpy(to, from, size);
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return answer("nvmlInit"); }
int nvmlShutdown(void) { return SUCCESS; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) { return text(to, size, "570.86.15"); }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12080; return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = GPUS; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu_t **gpu) { *gpu = &gpus[index]; return SUCCESS; }

int nvmlDeviceGetUUID(gpu_t *gpu, char *to, unsigned size) {
    return text(to, size, gpu->number ? "GPU-bbbb1111-0" : "GPU-aaaa0000-0");
}

int nvmlDeviceGetName(gpu_t *gpu, char *to, unsigned size) { (void)gpu; return text(to, size, "Stand-in GPU"); }

int nvmlDeviceGetMemoryInfo(gpu_t *gpu, memory_t *memory) {
    *memory = (memory_t){80ULL << 30, 0, (gpu->number + 1ULL) << 30};
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(gpu_t *gpu, utilization_t *rates) {
    *rates = (utilization_t){gpu->number ? 90 : 40, 0};
    return answer("nvmlDeviceGetUtilizationRates");
}

int nvmlDeviceGetPowerUsage(gpu_t *gpu, unsigned *milliwatts) { *milliwatts = gpu->number ? 650500 : 300000; return SUCCESS; }
int nvmlDeviceGetPowerManagementLimit(gpu_t *gpu, unsigned *milliwatts) { (void)gpu; *milliwatts = 700000; return SUCCESS; }
int nvmlDeviceGetClockInfo(gpu_t *gpu, int type, unsigned *mhz) { *mhz = type == 1 ? 1980 + gpu->number : 0; return SUCCESS; }

/* As GPUs that are virtual, or cut in parts, say of much. */
int nvmlDeviceGetTemperature(gpu_t *gpu, int sensor, unsigned *degrees) {
    (void)gpu, (void)sensor, (void)degrees;
    return NOT_SUPPORTED;
}
