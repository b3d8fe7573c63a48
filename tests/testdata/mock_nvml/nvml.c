/* A libnvidia-ml.so.1 for tests. What it says stands in a JSON file: the one that MOCK_NVML names,
 * else mock-nvml.json beside this library. README.md describes the file.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "json.h"

typedef Value *Device; /* of a GPU, or of one of its MIG devices */
typedef struct {
    char legacy[16];
    unsigned domain, bus, device, pci_device, pci_subsystem;
    char bus_id[32];
} Pci;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned pid; unsigned long long memory; unsigned gi, ci; } Process;
typedef struct {
    unsigned multiprocessors, copy, decoder, encoder, jpeg, ofa, gpu_slices, compute_slices;
    unsigned long long memory_mb;
} Attributes;

static const struct { const char *word; int code; const char *text; } outcomes[] = {
    {"SUCCESS", 0, "Success"},
    {"UNINITIALIZED", 1, "Uninitialized"},
    {"INVALID_ARGUMENT", 2, "Invalid Argument"},
    {"NOT_SUPPORTED", 3, "Not Supported"},
    {"NO_PERMISSION", 4, "Insufficient Permissions"},
    {"NOT_FOUND", 6, "Not Found"},
    {"INSUFFICIENT_SIZE", 7, "Insufficient Size"},
    {"DRIVER_NOT_LOADED", 9, "Driver Not Loaded"},
    {"TIMEOUT", 10, "Timeout"},
    {"FUNCTION_NOT_FOUND", 13, "Function Not Found"},
    {"GPU_IS_LOST", 15, "GPU is lost"},
    {"RESET_REQUIRED", 16, "GPU requires reset"},
    {"LIB_RM_VERSION_MISMATCH", 18, "Driver/library version mismatch"},
    {"UNKNOWN", 999, "Unknown Error"},
};
enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
       UNKNOWN = 999 };

static Value *world;

static void load(void)
{
    char path[4096], *text = NULL;
    const char *said = getenv("MOCK_NVML");
    size_t size = 0;
    ssize_t got = 1;
    int descriptor;
    if (said) {
        snprintf(path, sizeof path, "%s", said);
    } else {
        Dl_info here;
        dladdr((void *)load, &here);
        const char *slash = strrchr(here.dli_fname, '/');
        snprintf(path, sizeof path, "%.*s/mock-nvml.json",
                 (int)(slash ? slash - here.dli_fname : 0), here.dli_fname);
    }
    descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        abort();
    while (got > 0) {
        text = realloc(text, size + 65536);
        got = read(descriptor, text + size, 65535);
        size += got > 0 ? got : 0;
    }
    close(descriptor);
    text[size] = 0;
    const char *at = text;
    world = read_value(&at, NULL);
}

/* What the description says that this call of this object shall answer instead of doing its work. */
static int disturbed(const Value *object, const char *call)
{
    Value *said = member(member(object, "errors"), call);
    if (!said)
        return SUCCESS;
    if (!strcmp(said->text, "CRASH"))
        raise(SIGSYS); /* not SIGSEGV, which pytest reports at length */
    while (!strcmp(said->text, "HANG"))
        pause();
    for (size_t number = 0; number < sizeof outcomes / sizeof *outcomes; number++)
        if (!strcmp(said->text, outcomes[number].word))
            return outcomes[number].code;
    return UNKNOWN;
}
#define HEED(object) \
    do { \
        int heeded = disturbed(object, __func__); \
        if (heeded) \
            return heeded; \
    } while (0)

static int give_text(const Value *object, const char *key, char *text, unsigned size)
{
    Value *said = member(object, key);
    if (!said)
        return NOT_SUPPORTED;
    if (strlen(said->text) >= size)
        return INSUFFICIENT_SIZE;
    strcpy(text, said->text);
    return SUCCESS;
}

static int give_number(const Value *object, const char *key, unsigned *number)
{
    Value *said = member(object, key);
    if (said)
        *number = said->number;
    return said ? SUCCESS : NOT_SUPPORTED;
}

static long long number_or_0(const Value *object, const char *key)
{
    Value *said = member(object, key);
    return said ? said->number : 0;
}

static Device find_gpu(unsigned position)
{
    Value *gpu = item(member(world, "gpus"), 0);
    for (; gpu; gpu = gpu->next) {
        Value *known = member(gpu, "nvml");
        if ((!known || known->number) && !position--)
            break;
    }
    return gpu;
}

static int is_mig_device(Device device) { return member(device, "gpu_instance") != NULL; }
static Device parent_gpu(Device device) { return device->parent->parent; }

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    load();
    HEED(world);
    return SUCCESS;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code)
{
    for (size_t number = 0; number < sizeof outcomes / sizeof *outcomes; number++)
        if (outcomes[number].code == code)
            return outcomes[number].text;
    return "Unknown Error";
}

int nvmlSystemGetDriverVersion(char *text, unsigned size)
{
    HEED(world);
    return give_text(world, "driver_version", text, size);
}

int nvmlSystemGetCudaDriverVersion(int *version)
{
    int major, minor;
    Value *said = member(world, "cuda_version");
    HEED(world);
    if (!said || sscanf(said->text, "%d.%d", &major, &minor) != 2)
        return NOT_SUPPORTED;
    *version = major * 1000 + minor * 10;
    return SUCCESS;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return nvmlSystemGetCudaDriverVersion(version); }

int nvmlDeviceGetCount_v2(unsigned *number)
{
    HEED(world);
    for (*number = 0; find_gpu(*number); ++*number)
        ;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned position, Device *device)
{
    *device = find_gpu(position);
    if (!*device)
        return INVALID_ARGUMENT;
    HEED(*device);
    return SUCCESS;
}

int nvmlDeviceGetUUID(Device device, char *text, unsigned size)
{
    HEED(device);
    return give_text(device, "uuid", text, size);
}

int nvmlDeviceGetMinorNumber(Device device, unsigned *minor)
{
    HEED(device);
    return give_number(device, "minor", minor);
}

int nvmlDeviceGetPciInfo_v3(Device device, Pci *pci)
{
    HEED(device);
    memset(pci, 0, sizeof *pci);
    if (give_text(device, "pci_bus_id", pci->bus_id, sizeof pci->bus_id))
        return UNKNOWN;
    sscanf(pci->bus_id, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    snprintf(pci->legacy, sizeof pci->legacy, "%04x:%02x:%02x.0", pci->domain & 0xffff,
             pci->bus & 0xff, pci->device & 0xff);
    return SUCCESS;
}

int nvmlDeviceGetName(Device device, char *text, unsigned size)
{
    HEED(device);
    if (!is_mig_device(device))
        return give_text(device, "name", text, size);
    Value *name = member(parent_gpu(device), "name"), *profile = member(device, "profile");
    if (!profile)
        return NOT_SUPPORTED;
    snprintf(text, size, "%s MIG %s", name ? name->text : "NVIDIA", profile->text);
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(Device device, int *major, int *minor)
{
    Value *said = member(device, "architecture");
    HEED(device);
    return said && sscanf(said->text, "%d.%d", major, minor) == 2 ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetBrand(Device device, unsigned *brand)
{
    HEED(device);
    return give_number(device, "brand", brand);
}

int nvmlDeviceGetMemoryInfo(Device device, Memory *memory)
{
    HEED(device);
    if (!member(device, "memory_bytes"))
        return NOT_SUPPORTED;
    memory->total = number_or_0(device, "memory_bytes");
    memory->used = number_or_0(device, "memory_used_bytes");
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(Device device, Utilization *rates)
{
    HEED(device);
    rates->memory = 0;
    return give_number(device, "utilization_percent", &rates->gpu);
}

static int give_processes(const Value *said, unsigned *number, Process *processes)
{
    unsigned room = *number;
    *number = length(said);
    if (*number > room)
        return INSUFFICIENT_SIZE;
    for (unsigned position = 0; position < *number; position++) {
        Value *one = item(said, position);
        processes[position] = (Process){number_or_0(one, "pid"), number_or_0(one, "memory_bytes"),
                                        ~0u, ~0u};
    }
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *number, Process *processes)
{
    HEED(device);
    return give_processes(member(device, "compute_processes"), number, processes);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(Device device, unsigned *number, Process *processes)
{
    HEED(device);
    return give_processes(member(device, "graphics_processes"), number, processes);
}

int nvmlDeviceGetMigMode(Device device, unsigned *current, unsigned *pending)
{
    HEED(device);
    if (!member(device, "mig_mode"))
        return NOT_SUPPORTED;
    *current = number_or_0(device, "mig_mode");
    *pending = member(device, "mig_mode_pending") ? number_or_0(device, "mig_mode_pending") : *current;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(Device device, unsigned *number)
{
    HEED(device);
    *number = member(device, "mig_mode") ? 7 : 0;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device device, unsigned position, Device *mig)
{
    HEED(device);
    for (*mig = item(member(device, "mig_devices"), 0); *mig; *mig = (*mig)->next)
        if (number_or_0(*mig, "position") == position)
            return disturbed(*mig, __func__);
    return NOT_FOUND;
}

int nvmlDeviceIsMigDeviceHandle(Device device, unsigned *answer)
{
    *answer = is_mig_device(device);
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device device, Device *gpu)
{
    if (!is_mig_device(device))
        return INVALID_ARGUMENT;
    *gpu = parent_gpu(device);
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceId(Device device, unsigned *number)
{
    HEED(device);
    return give_number(device, "gpu_instance", number);
}

int nvmlDeviceGetComputeInstanceId(Device device, unsigned *number)
{
    HEED(device);
    return give_number(device, "compute_instance", number);
}

int nvmlDeviceGetAttributes_v2(Device device, Attributes *attributes)
{
    HEED(device);
    if (!is_mig_device(device))
        return NOT_SUPPORTED;
    memset(attributes, 0, sizeof *attributes);
    attributes->gpu_slices = number_or_0(device, "gpu_slices");
    attributes->compute_slices = number_or_0(device, "compute_slices");
    attributes->memory_mb = number_or_0(device, "memory_bytes") >> 20;
    return SUCCESS;
}
