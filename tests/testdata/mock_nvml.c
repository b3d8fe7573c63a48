/* A libnvidia-ml.so.1 for tests: two GPUs, or what MOCK_NVML says: "crash", "hang", "unloaded". */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NO_PERMISSION = 4, DRIVER_NOT_LOADED = 9, NVIDIA = 14 };
typedef struct { int number; } *Device;
typedef struct {
    char legacy[16];
    unsigned domain, bus, device, pci_device, pci_subsystem;
    char bus_id[32];
} Pci;
typedef struct { unsigned long long total, free, used; } Memory;

static struct { int number; } gpus[3] = {{0}, {1}, {2}};

static int says(const char *word)
{
    const char *said = getenv("MOCK_NVML");
    return said && !strcmp(said, word);
}

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    if (says("crash"))
        raise(SIGSYS);
    if (says("hang"))
        pause();
    return says("unloaded") ? DRIVER_NOT_LOADED : SUCCESS;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code)
{
    return code == DRIVER_NOT_LOADED ? "Driver Not Loaded" : "Insufficient Permissions";
}
int nvmlSystemGetDriverVersion(char *text, unsigned size)
{
    strncpy(text, "580.159.04", size);
    return SUCCESS;
}
int nvmlSystemGetCudaDriverVersion(int *version) { *version = 13000; return SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *number) { *number = says("denied") ? 3 : 2; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned number, Device *device)
{
    *device = (Device)&gpus[number];
    return number == 2 ? NO_PERMISSION : SUCCESS;
}
int nvmlDeviceGetUUID(Device device, char *text, unsigned size)
{
    strncpy(text, device->number ? "GPU-mock-1" : "GPU-mock-0", size);
    return SUCCESS;
}
int nvmlDeviceGetMinorNumber(Device device, unsigned *minor)
{
    *minor = device->number;
    return SUCCESS;
}
int nvmlDeviceGetPciInfo_v3(Device device, Pci *pci)
{
    memset(pci, 0, sizeof *pci);
    strcpy(pci->bus_id, device->number ? "00000000:3B:00.0" : "00000000:18:00.0");
    return SUCCESS;
}
int nvmlDeviceGetName(Device device, char *text, unsigned size)
{
    strncpy(text, device->number ? "NVIDIA Mock B" : "NVIDIA Mock A", size);
    return SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(Device device, int *major, int *minor)
{
    *major = 9;
    *minor = device->number;
    return SUCCESS;
}
int nvmlDeviceGetBrand(Device device, unsigned *brand)
{
    (void)device;
    *brand = NVIDIA;
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(Device device, Memory *memory)
{
    if (device->number)
        return NOT_SUPPORTED;
    memory->total = 1ull << 37;
    return SUCCESS;
}
int nvmlDeviceGetMigMode(Device device, unsigned *current, unsigned *pending)
{
    *current = *pending = device->number;
    return SUCCESS;
}
