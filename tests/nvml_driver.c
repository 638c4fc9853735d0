/* A stand-in for NVIDIA's library, so that its Python binding runs without a GPU: devices whose memory in use
   and utilisation are the two numbers in the file that NVML_FIGURES names; the second is a part of a GPU that
   tells no utilisation, the third is lost. */
#include <stdio.h>
#include <stdlib.h>

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;

static int devices[2] = {0, 1};

static unsigned long long figure(int at) {
    unsigned long long found[2] = {0, 0};
    FILE *file = fopen(getenv("NVML_FIGURES"), "r");
    if (file) {
        if (fscanf(file, "%llu %llu", &found[0], &found[1]) != 2) found[0] = found[1] = 0;
        fclose(file);
    }
    return found[at];
}

int nvmlInitWithFlags(unsigned int flags) { (void)flags; return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { (void)code; return "stand-in"; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 3; return 0; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (index == 2) return 15; /* lost */
    *device = &devices[index];
    return 0;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) {
    snprintf(uuid, length, "GPU-%d", *(int *)device);
    return 0;
}

int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) {
    (void)device;
    memory->total = 80000000000ull;
    memory->used = figure(0);
    memory->free = memory->total - memory->used;
    return 0;
}

int nvmlDeviceGetUtilizationRates(void *device, utilization_t *rates) {
    if (*(int *)device == 1) return 3; /* not supported */
    rates->gpu = figure(1);
    rates->memory = 0;
    return 0;
}
